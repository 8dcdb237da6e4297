"""The stages of the pipeline as a drawing: which one reads what another writes."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from pacavit.pipeline.table import STAGES
from pacavit.pipeline.targets import upstream

_STEP, _ROW, _WIDTH, _HEIGHT = 176, 40, 148, 26


@dataclass(frozen=True)
class Node:
    """A stage in the drawing: its name, the number of its jobs, and its left upper corner."""

    name: str
    jobs: int
    x: int
    y: int


@dataclass(frozen=True)
class Drawing:
    """Nodes, and edges as SVG paths, in a box of a width and height; and what each stage reads."""

    nodes: list[Node]
    edges: list[str]
    read: dict[str, list[str]]
    width: int
    height: int
    node_width: int = _WIDTH
    node_height: int = _HEIGHT


def reads() -> dict[str, set[str]]:
    """Return the stages that each stage of the target ``all`` reads from."""
    return {name: upstream(name) for name, spec in STAGES.items() if not spec.released}


def draw(counts: dict[str, int]) -> Drawing:
    """Place each stage in the column after the last one it reads from; of edges, leave out what others imply.

    Args:
        counts: jobs by stage.
    """
    read = reads()
    column: dict[str, int] = {}
    for name in read:
        _place(name, read, column)
    rows: dict[int, int] = {}
    nodes = {}
    for name in read:
        row = rows.setdefault(column[name], 0)
        rows[column[name]] += 1
        nodes[name] = Node(name, counts.get(name, 0), 4 + column[name] * _STEP, 4 + row * _ROW)
    shown = nx.transitive_reduction(nx.DiGraph((other, name) for name in read for other in read[name]))
    edges = [_edge(nodes[other], nodes[name]) for other, name in sorted(shown.edges)]
    width = 8 + max(column.values()) * _STEP + _WIDTH
    listed = {name: sorted(others) for name, others in read.items()}
    return Drawing(list(nodes.values()), edges, listed, width, 8 + max(rows.values()) * _ROW)


def _place(name: str, read: dict[str, set[str]], column: dict[str, int]) -> int:
    if name not in column:
        column[name] = max((_place(other, read, column) + 1 for other in read[name]), default=0)
    return column[name]


def _edge(start: Node, end: Node) -> str:
    x1, y1 = start.x + _WIDTH, start.y + _HEIGHT // 2
    x2, y2 = end.x, end.y + _HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
