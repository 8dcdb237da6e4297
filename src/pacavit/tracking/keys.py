"""Names and texts in the form that MLflow takes, whatever a user calls a class, a scale or a file.

MLflow's rule (``mlflow.utils.validation``): names of metrics, parameters and tags hold letters and digits of any
script, ``_``, ``-``, ``.``, spaces and ``/``, are paths in their shortest form, and have 250 characters at most.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

#: MLflow's bound on the length of a name.
LONGEST_KEY = 250
_OTHER = re.compile(r"[^\w.\- /]")


def keys(names: Iterable[str]) -> dict[str, str]:
    """Return the name in MLflow of each name: the same where MLflow takes it, and never one for two.

    A name that becomes another's gets a hash of itself at its end. The result follows from the order of the names, so
    that more of them at the end change nothing.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in found:
            continue
        key = _fitted(name)
        if key in taken or len(key) > LONGEST_KEY:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            key = f"{key[: LONGEST_KEY - 9].rstrip('/.')}-{digest}"
        found[name] = key
        taken.add(key)
    return found


def text(value: object, longest: int) -> str:
    """Return a value as text that every database takes; ``…`` at its end tells that it was cut.

    Args:
        value: of a parameter or tag.
        longest: number of characters.
    """
    whole = str(value).encode("utf-8", "replace").decode().replace("\0", "?")
    return whole if len(whole) <= longest else f"{whole[: longest - 1]}…"


def _fitted(name: str) -> str:
    parts = _OTHER.sub("_", name.replace("@", "_at_")).split("/")
    # A part that is empty or a step upwards would lead to another name.
    parts = [part if part.strip(" .") else "_" * max(1, len(part)) for part in parts]
    key = "/".join(parts)
    return f"__{key[2:]}" if key.startswith("..") else key
