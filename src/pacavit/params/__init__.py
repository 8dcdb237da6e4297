"""The parameter schema: one module and one YAML page a stage, validated before anything runs.

``params/<scale>/<page>.yaml`` is what a user edits; ``load`` reads and checks all pages of a scale.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import Node

from pacavit import paths
from pacavit.errors import PacavitError
from pacavit.params.ade20k import Ade20kPage
from pacavit.params.base import Page
from pacavit.params.claims import ClaimsPage
from pacavit.params.coco import CocoPage
from pacavit.params.data import DataPage
from pacavit.params.evaluate import EvaluatePage
from pacavit.params.figures import FiguresPage
from pacavit.params.plan import PlanPage
from pacavit.params.pretrain import PretrainPage
from pacavit.params.targets import TargetsPage
from pacavit.redaction import without_passwords

#: What runs where no scale is asked for, and what ``dvc.yaml`` versions.
DEFAULT_SCALE = "mini"

_SCALE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: Most values of a page, with what its aliases repeat; beyond that it is no page of ours.
_MOST_VALUES = 100_000

#: Pages that have one mapping per variant, which must cover the targets' variants.
_PER_VARIANT = ("pretrain", "coco", "ade20k")


@dataclass(frozen=True)
class Params:
    """All pages of one scale."""

    targets: TargetsPage
    data: DataPage
    pretrain: PretrainPage
    coco: CocoPage
    ade20k: Ade20kPage
    evaluate: EvaluatePage
    claims: ClaimsPage
    figures: FiguresPage
    plan: PlanPage


def load(scale: str) -> Params:
    """Read and check every page of a scale.

    Raises:
        PacavitError: a file is missing or is not YAML; a key is unknown, missing, mistyped or out of range; the
            scale's name, which goes into command lines, has other signs than letters, digits, ``_``, ``-`` and ``.``.
    """
    check_name(scale)
    folder = paths.path(paths.PARAMS, scale=scale, page="targets").parent
    if not folder.is_dir():
        paths.require_project()
        known = sorted(p.name for p in folder.parent.glob("*/"))
        raise PacavitError(f"{folder}: no such scale; choose one of {', '.join(known)}")
    return read(folder)


def read(folder: Path) -> Params:
    """Read and check every page in a folder.

    Raises:
        PacavitError: as :func:`load`.
    """
    pages = {}
    for name, model in Params.__annotations__.items():
        pages[name] = _page(folder / f"{name}.yaml", globals()[model])
    params = Params(**pages)
    for name in _PER_VARIANT:
        _covers(folder / f"{name}.yaml", "variants", params.targets.every, getattr(params, name).variants)
    there = {name: options for name, options in params.ade20k.heads if options is not None}
    _covers(folder / "ade20k.yaml", "heads", params.targets.heads, there)
    for variant in params.targets.every:
        given = params.ade20k.variants[variant]
        section, source = f"variants.{variant}", folder / "ade20k.yaml"
        _covers(source, f"{section}.drop_path", params.targets.heads_of(variant), given.drop_path)
        clusters = params.targets.model(variant).has_clusters
        if clusters != (given.num_clusters is not None):
            problem = "missing; add it" if clusters else f"{variant} has no clusters; remove it"
            raise PacavitError(f"{source}: {section}.num_clusters: {problem}")
    return params


def check_name(scale: str) -> None:
    """Refuse a scale's name that cannot be one.

    Raises:
        PacavitError: it goes into command lines and paths, and has other signs than those.
    """
    if not _SCALE.fullmatch(str(scale)):
        raise PacavitError(
            f"scale {scale!r}: expected a folder below params/, named with letters, digits, '_', '-' and '.'; rename it"
        )


def select(params: Params, keys: tuple[str, ...], **names: str | int) -> dict[str, Any]:
    """Return the values that determine a job, by key, as plain JSON types.

    ``keys`` are ``page:dotted.key`` with names in braces, e.g. ``pretrain:variants.{variant}``, or ``page:`` for all of
    a page. A page of another scale goes by ``scale/page``.
    """
    return {key.format(**names): _plain(_lookup(params, key, **names)) for key in keys}


def _lookup(params: Params, key: str, **names: str | int) -> Any:
    page, dotted = key.split(":")
    scale, _, page = page.rpartition("/")
    value: Any = getattr(load(scale) if scale else params, page)
    for part in dotted.split(".") if dotted else ():
        part = part.format(**names)
        if isinstance(value, dict):
            if part not in value:
                raise PacavitError(
                    f"params: {page}.yaml has no {part!r} under {dotted.split('.')[0]}; add it"
                )
            value = value[part]
        else:
            value = getattr(value, part)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return json.loads(value.model_dump_json())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _read_yaml(source: Path) -> dict[str, Any]:
    try:
        text = source.read_text()
        if "&" in text:  # without an anchor there is no alias
            _check_size(source, YAML(typ="safe", pure=True).compose(text))
        content = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise PacavitError(f"{source}: missing; restore it with `git checkout {source}`") from None
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PacavitError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PacavitError(f"{source}: expected keys and values, found {type(content).__name__}")
    return content


def _check_size(source: Path, root: Node | None) -> None:
    """Refuse a page whose aliases repeat one another, or itself, into more than anyone writes: a bomb."""
    sizes: dict[int, float] = {}

    def size(part: Any) -> float:
        if isinstance(part, tuple):
            return sum(size(each) for each in part)
        if id(part) not in sizes:
            sizes[id(part)] = float("inf")  # of one that holds itself
            inner = part.value if isinstance(part.value, list) else []
            sizes[id(part)] = 1 + sum(size(each) for each in inner)
        return sizes[id(part)]

    if root is not None and size(root) > _MOST_VALUES:
        raise PacavitError(f"{source}: its aliases stand for too many values; write out what they stand for")


def _page(source: Path, model: type[Page]) -> Page:
    """Return a page; one that has not changed is not read again."""
    try:
        status = source.stat()
    except OSError:
        return _read_page(source, model)
    return _read_page_once(source, model, source.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _read_page_once(source: Path, model: type[Page], *version: Path | int) -> Page:
    return _read_page(source, model)


def _read_page(source: Path, model: type[Page]) -> Page:
    content = _read_yaml(source)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise PacavitError(f"{source}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[Page]) -> str:
    """Return all problems of a page in one line, with the nearest known key for an unknown one."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = get_close_matches(str(problem["loc"][-1]), _known_keys(model), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; remove it"
            lines.append(f"{where}: unknown key{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: missing; add it")
        else:
            # A whole section is no use in a message; what its check says names the values.
            found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
            lines.append(f"{where}: {problem['msg']}{found}")
    return without_passwords(" | ".join(lines))


def _known_keys(model: type[BaseModel]) -> set[str]:
    keys: set[str] = set()
    pending = [model.model_json_schema()]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            keys.update(node.get("properties", {}))
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return keys


def _covers(source: Path, section: str, wanted: list[str], given: dict[str, Any]) -> None:
    for name in wanted:
        if name not in given:
            raise PacavitError(f"{source}: {section} has no {name!r}, which targets.yaml asks for; add it")
