"""Pages from templates: self-contained, escaped, and without a request to any network."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pacavit.files import atomic_file


def packed(value: Any) -> str:
    """Return JSON types as text for a page, which unpacks it: JSON, compressed by gzip, in base64."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def write(path: Path, template: str, **values: Any) -> None:
    """Fill a template of the folder ``page``, in which every value is escaped, and write it."""
    environment = Environment(
        loader=PackageLoader("pacavit.figures", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["packed"] = packed
    page = environment.get_template(template).render(values)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
