"""`pacavit`, which notes every file that a stage's function opens below the project, in a file a job.

Python tells an audit hook of each file that it opens, whatever library does it. `/*` stands for the list of a
folder's files.
"""

import os
import sys
from pathlib import Path

from pacavit import cli
from pacavit.pipeline import run
from pacavit.pipeline.targets import name

ROOT = Path.cwd()
describe, write_index = run.describe, run.index.write
noting = []


def described(stage, scale, names, *given):
    """Begin to note when the job is given to its function; before, its runner checks all parameters."""
    notes = os.environ["AUDITED"] / Path(f"{name(stage, names)}.txt")
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event, arguments):
        if (
            noting
            and event in ("open", "os.listdir", "os.scandir")
            and isinstance(arguments[0], (str, bytes, Path))
        ):
            path = Path(os.path.abspath(os.fsdecode(arguments[0])))
            if path.is_relative_to(ROOT):
                end = "" if event == "open" else "/*"
                os.write(handle, f"{path.relative_to(ROOT)}{end}\n".encode())

    noting.append(True)
    sys.addaudithook(hook)
    return describe(stage, scale, names, *given)


def written_index():
    """Stop noting: the runner itself writes the list of pages, after the job."""
    noting.clear()
    write_index()


run.describe, run.index.write = described, written_index
cli.main()
