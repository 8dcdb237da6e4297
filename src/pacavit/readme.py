"""The parts of the README and of docs/architecture.md that are written by commands, between marks that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pacavit.errors import PacavitError
from pacavit.files import atomic_file

README = Path("README.md")
ARCHITECTURE = Path("docs/architecture.md")


def texts(scale: str) -> dict[str, str]:
    """Return what stands in the README of a scale's results, by the command that makes it.

    Raises:
        PacavitError: a result is not there.
    """
    from pacavit.claims import ledger
    from pacavit.pipeline import targets
    from pacavit.planning import stage as planning

    found = {}
    for command, result in (("claims", "claims.ledger"), ("costs", "costs.costs")):
        path = targets.path(result, scale)
        if not path.is_file():
            raise PacavitError(f"{path}: missing; make it with `pacavit {command} --scale {scale}`")
        entries = ledger.summary(ledger.read(path)) if command == "claims" else None
        found[f"pacavit {command}"] = (
            planning.text(path) if entries is None else ledger.as_markdown(entries, scale)
        )
    return found


def drawings() -> dict[str, str]:
    """Return what stands in docs/architecture.md, by what it shows."""
    from pacavit.figures import mermaid

    return {
        "stages": mermaid.diagram(mermaid.stages()),
        "packages": mermaid.diagram(mermaid.packages()),
    }


def update_all(scale: str) -> Iterator[str]:
    """Renew every part of both documents; yield a line for each.

    Raises:
        PacavitError: a result is not there.
    """
    for name, text in drawings().items():
        yield _renew(f"pacavit readme: {name}", text, ARCHITECTURE)
    for name, text in texts(scale).items():
        yield _renew(name, text, README)


def _renew(name: str, text: str, path: Path) -> str:
    return f"{path}: what `{name}` writes is {'renewed' if update(name, text, path) else 'up to date'}"


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
