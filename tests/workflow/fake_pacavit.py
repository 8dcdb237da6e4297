"""Stands for `pacavit` where the tests are about what runs, not about the work.

It finds the job that its command line names, and writes small outputs that depend on all that the job depends on: its
parameters and the content of its inputs. All else of the pipeline is the real one.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from pacavit import files, params, paths, stages


def find_job(scale: str, given: params.Params) -> tuple[str, dict]:
    line = " ".join(["pacavit", *sys.argv[1:]])
    for target in (stages.ALL, stages.RELEASED):
        for stage, names in stages.jobs(given.targets, target):
            if paths.fill(stages.command(stage), scale=scale, **names) == line:
                return stage, names
    sys.exit(f"no job has the command line {line!r}")


def content(path: Path) -> bytes:
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return b"".join(p.read_bytes() for p in found if p.name != ".snakemake_timestamp")


def write(path: Path, digest: str) -> None:
    number = int(digest[:6], 16)
    if path.suffix == ".json":
        text = json.dumps({"score": number, "untrained": {"score": 0}})
    elif path.suffix == ".csv":
        text = f"step,train_loss\n1,{number}\n2,{number / 2}\n"
    else:
        text = digest
    if path.suffix:
        with files.atomic_file(path) as temporary:
            temporary.write_text(text)
    else:
        with files.atomic_directory(path) as temporary:
            (temporary / files.MANIFEST).write_text(text)


def note(name: str, job: str) -> None:
    with open(name, "a") as log:
        log.write(f"{job}\n")


def main() -> None:
    scale = sys.argv[sys.argv.index("--scale") + 1]
    given = params.load(scale)
    stage, names = find_job(scale, given)
    job = stages.name(stage, names)
    note("started.log", job)
    if job == os.environ.get("FAKE_FAILING_JOB"):
        sys.exit("a word before\npacavit: it fails")
    if job == os.environ.get("FAKE_SLOW_JOB"):
        time.sleep(60)
    spec = stages.STAGES[stage]
    values = params.select(given, spec.params, **names)
    read = [paths.path(pattern, scale=scale, **names) for pattern in spec.inputs.values()]
    read += [Path(path) for path in stages.gathered(stage, scale, given.targets)]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for path in read:
        digest.update(content(path))
    for pattern in spec.outputs.values():
        path = paths.path(pattern, scale=scale, **names)
        write(path, hashlib.sha256(digest.digest() + str(path).encode()).hexdigest())
    note("ran.log", job)
    stages.mark(stage, scale, names, values)


main()
