"""The packages and the stages as Mermaid diagrams, which GitHub and many readers of Markdown draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import networkx as nx

import pacavit
from pacavit.pipeline import code
from pacavit.pipeline.table import STAGES
from pacavit.pipeline.targets import upstream

_ROOT = Path(pacavit.__file__).parent


def packages() -> dict[str, set[str]]:
    """Return what each package, or module at the top, imports of the others when it is imported or run."""
    found: dict[str, set[str]] = {}
    for path in sorted(_ROOT.rglob("*.py")):
        parts = [part for part in path.relative_to(_ROOT).with_suffix("").parts if part != "__init__"]
        if not parts:
            continue
        imported = {name.split(".")[1] for name in code.imported(".".join(["pacavit", *parts]))}
        found.setdefault(parts[0], set()).update(imported - {parts[0]})
    return found


def stages() -> dict[str, set[str]]:
    """Return the stages that each stage reads from."""
    return {name: upstream(name) for name in STAGES}


def diagram(reads: Mapping[str, set[str]]) -> str:
    """Return a diagram with an arrow from what is read to what reads it, but for arrows that others imply.

    Raises:
        networkx.NetworkXError: the graph has a cycle.
    """
    graph = nx.DiGraph((other, name) for name, others in reads.items() for other in sorted(others))
    graph.add_nodes_from(reads)
    arrows = sorted(nx.transitive_reduction(graph).edges)
    alone = sorted(name for name in graph if graph.degree(name) == 0)
    lines = [*(f"    {a} --> {b}" for a, b in arrows), *(f"    {name}" for name in alone)]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])
