"""What is asked of the scheduler, held against Snakemake's profile: options replace a whole section of it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snakemake.cli import get_argument_parser

from pacavit.errors import PacavitError
from pacavit.pipeline.table import STAGES


def check(arguments: Sequence[str], known: Iterable[str] = STAGES) -> None:
    """Refuse options that drop what the profile asks for, and resources of a rule that there is not.

    Args:
        arguments: of the command ``snakemake``.
        known: names of rules.

    Raises:
        PacavitError: names what would be missing, and what to do instead.
    """
    typed, _ = get_argument_parser().parse_known_args(list(arguments))
    profiles = _profiles(typed)
    if not profiles:
        _rules_exist("--set-resources", typed.set_resources or {}, list(known))
        return
    profile = get_argument_parser(profiles=profiles).parse_args([])
    names = " and ".join(profiles)
    for source, asked in (("--set-resources", typed), (f"profile {names}: set-resources", profile)):
        _rules_exist(source, asked.set_resources or {}, list(known))
    lost = _lost(profile.set_resources or {}, typed.set_resources or {})
    if lost:
        _refuse("--set-resources", names, lost, profiles)
    lost = _lost({"": dict(profile.default_resources or {})}, {"": dict(typed.default_resources or {})})
    if lost:
        _refuse("--default-resources", names, lost, profiles)


def _profiles(typed: Any) -> list[str]:
    profiles = [name for name in typed.profile or [] if name != "none"]
    if typed.workflow_profile not in (None, "none"):
        places = (Path(typed.workflow_profile), Path("profiles", typed.workflow_profile))
        profiles += [str(place) for place in places if place.exists()][:1]
    return profiles


def _rules_exist(source: str, asked: Mapping[str, Any], known: Sequence[str]) -> None:
    for rule in asked:
        if rule not in known:
            near = get_close_matches(rule, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`pacavit stages` lists them"
            raise PacavitError(f"{source}: {rule!r} is no rule; {hint}")


def _lost(
    profile: Mapping[str, Mapping[str, Any]], typed: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Return by rule the resources that the profile asks for and options leave out; none without options."""
    if not any(typed.values()):
        return {}
    lost = {
        rule: [name for name in sorted(asked) if name not in typed.get(rule, {})]
        for rule, asked in profile.items()
    }
    return {rule: names for rule, names in lost.items() if names}


def _refuse(option: str, profile: str, lost: Mapping[str, Sequence[str]], profiles: Sequence[str]) -> None:
    rules_of: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for rule, names in lost.items():
        rules_of[tuple(names)].append(rule)
    missing = "; ".join(
        f"{', '.join(rules)}{': ' if any(rules) else ''}{', '.join(names)}"
        for names, rules in rules_of.items()
    )
    raise PacavitError(
        f"{option} replaces that whole section of the profile {profile}; it would drop {missing}. Edit the profile, or "
        f"a copy of it: `cp -r {shlex.quote(profiles[-1])} mine`, and --profile mine"
    )
