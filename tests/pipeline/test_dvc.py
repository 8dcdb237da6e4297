"""What is told where DVC cannot go on."""

import subprocess
import sys
from pathlib import Path

import pytest

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.pipeline import dvc

#: Parameters of the miniature.
GIVEN = params.load("mini")

WHOLE = "schema: '2.0'\nstages:\n  code:\n    cmd: pacavit code\n    outs:\n    - path: code.json\n      md5: abc\n"


@pytest.fixture
def lock(tmp_path, monkeypatch) -> Path:
    """The path of ``dvc.lock`` in an empty project."""
    monkeypatch.chdir(tmp_path)
    return Path("dvc.lock")


def test_a_whole_lock_is_read_and_none_is_empty(lock):
    assert dvc.Lock("mini", GIVEN)._stages == {}
    lock.write_text(WHOLE)
    assert dvc.Lock("mini", GIVEN)._stages["code"]["outs"] == [{"path": "code.json", "md5": "abc"}]


@pytest.mark.parametrize("place", ["within", "all", "first"])
def test_a_conflict_of_gits_is_told_with_its_lines_and_how_to_end_it(lock, place):
    ours, theirs = ("      md5: abc\n", "      md5: def\n") if place == "within" else (WHOLE, WHOLE)
    conflict = f"<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n"
    lock.write_text(WHOLE.replace(ours, conflict) if place == "within" else conflict)
    if place == "first":
        lock.write_text(f"<<<<<<< HEAD\n{WHOLE}")
    with pytest.raises(PacavitError, match=r"^dvc\.lock: conflict of Git's at line \d+;") as caught:
        _ = dvc.Lock("mini", GIVEN)._stages
    assert "git checkout --ours dvc.lock" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\0\0\0",
        b"\xff\xfe",
        b"hello",
        b"[]",
        b"stages:",
        b"stages: []",
        b"stages: {code: 3}",
        b"stages: {code: {outs: 3}}",
        b"stages: {code: {outs: [3]}}",
        b"stages: {code: {outs: [{md5: abc}]}}",
        WHOLE[:30].encode(),
        b"a: b: c",
    ],
)
def test_a_damaged_lock_is_told_in_one_line(lock, content):
    lock.write_bytes(content)
    with pytest.raises(PacavitError, match=r"^dvc\.lock: is not as DVC writes it") as caught:
        _ = dvc.Lock("mini", GIVEN)._stages
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["<<<<<<< HEAD\n[core]\n", "type = copy\n", "[cache\n", "[a]\nb=1\nb=2\n"]
)
def test_a_damaged_configuration_of_dvc_is_told_in_one_line(lock, content):
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(content)
    with pytest.raises(PacavitError, match=r"^\.dvc/config: not as DVC writes it") as caught:
        dvc.why_not()
    assert "\n" not in str(caught.value)


@pytest.fixture
def answers(monkeypatch):
    """A function that sets what DVC answers, the last answer for ever."""

    def set_answers(*given: tuple[int, str]) -> list[list[str]]:
        left, asked = list(given), []

        def run(command, **options):
            asked.append(command)
            code, stderr = left.pop(0) if len(left) > 1 else left[0]
            return subprocess.CompletedProcess(command, code, "", stderr)

        monkeypatch.setattr(dvc.subprocess, "run", run)
        return asked

    return set_answers


HELD = "ERROR: failed to commit code - Unable to acquire lock. Most likely another DVC process is running.\n"


def test_another_dvc_is_waited_for_which_is_said_once(lock, answers, capsys):
    asked = answers((255, HELD), (255, HELD), (0, ""))
    dvc._commit("relink", "code")
    assert len(asked) == 3
    told = capsys.readouterr().err
    assert told == "dvc: another DVC holds .dvc/tmp/lock, as one DVC at a time does; waiting up to 60 s\n"


def test_another_dvc_that_does_not_end_is_named(lock, answers, monkeypatch):
    monkeypatch.setattr(dvc, "_BUSY_SECONDS", 0.0)
    with subprocess.Popen([sys.executable, "-c", "input()", "repro"], stdin=subprocess.PIPE) as other:
        dvc._LOCK.parent.mkdir(parents=True)
        dvc._LOCK.write_text(f" {other.pid}\n")
        answers((255, HELD))
        with pytest.raises(PacavitError, match="type the same again") as caught:
            dvc._commit("relink", "code")
        other.communicate(b"\n")
    assert f"process {other.pid} (" in str(caught.value)
    assert ".dvc/tmp/lock" in str(caught.value)


def test_a_file_that_another_dvc_reads_is_waited_for_too(lock, answers, capsys):
    busy = (
        "ERROR: failed to commit code - '/project/code.json' is busy, it is being blocked by:\n"
        "  (PID 12): dvc repro\n\nIf there are no processes with such PIDs, you can manually remove "
        "'.dvc/tmp/rwlock' and try again.\n"
    )
    answers((255, busy), (0, ""))
    dvc._commit("relink", "code")
    assert "(PID 12): dvc repro" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("ERROR: a\nERROR: no space\n", "no space"),
        ("WARNING: old\nERROR: the file\n  is gone\n\n", "the file is gone"),
        ("Killed\n", "Killed"),
        ("", "it ended with 137 and no message"),
    ],
)
def test_another_fault_of_dvc_is_told_in_its_words(lock, answers, stderr, told):
    answers((137, stderr))
    with pytest.raises(PacavitError) as caught:
        dvc._commit("relink", "code")
    assert str(caught.value) == f"`dvc commit` failed: {told}; try it by hand"
