"""The parts of the README that the pipeline writes, between marks that name the command."""

from __future__ import annotations

from pathlib import Path

from pacavit.files import atomic_file

README = Path("README.md")


def update(command: str, text: str, path: Path = README) -> bool:
    """Put text between a command's marks; return whether that changed the file. One without marks stays as it is."""
    if not path.is_file():
        return False
    begin, end = f"<!-- written by `{command}` -->", f"<!-- end of what `{command}` writes -->"
    before = path.read_text()
    head, _, rest = before.partition(begin)
    _, found, tail = rest.partition(end)
    after = f"{head}{begin}\n{text}\n{end}{tail}"
    if not found or after == before:
        return False
    with atomic_file(path) as temporary:
        temporary.write_text(after)
    return True
