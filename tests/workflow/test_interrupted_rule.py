"""A rule's command when a scheduler ends its job: Slurm signals every process of it at once, the shell too."""

import ast
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

SAVES_AND_SAYS_SO = """#!/usr/bin/env python3
import signal, sys, time
def end(number, frame):
    time.sleep(1)
    print("state is saved", file=sys.stderr)
    sys.exit(85)
signal.signal(signal.SIGTERM, end)
open("begun", "w").close()
time.sleep(60)
"""


@pytest.fixture
def pacavit(tmp_path, monkeypatch):
    """A stand-in for the program, which takes a second to end well."""
    program = tmp_path / "pacavit"
    program.write_text(SAVES_AND_SAYS_SO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_sigterm_to_all_processes_leaves_the_program_time_and_keeps_its_last_words(pacavit, project):
    rules = (Path(__file__).resolve().parents[2] / "workflow/rules/stages.smk").read_text()
    shell = re.search(r"shell:\n((?: +\".+\"\n)+)", rules)[1]
    given = SimpleNamespace(command="pacavit costs --scale mini")
    line = ast.literal_eval(f"({shell})").format(params=given, threads=1, log="log")
    process = subprocess.Popen(["bash", "-c", f"set -euo pipefail; {line}"], start_new_session=True)
    until = time.monotonic() + 20
    while not (project / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(20) == 85
    assert (project / "log").read_text() == "state is saved\n"
