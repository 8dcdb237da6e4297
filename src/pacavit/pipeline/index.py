"""The page that leads to the report of each scale."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pacavit.files import atomic_file
from pacavit.pipeline.table import STAGES

_INDEX = Path("reports/index.html")


def write() -> None:
    """Write ``reports/index.html`` over the reports that are there."""
    pattern = Path(STAGES["report"].outputs["page"].path.format(scale="*"))
    pages = sorted(Path().glob(str(pattern)))
    links = "\n".join(
        f'<li><a href="{escape(str(page.relative_to(_INDEX.parent)))}">{escape(page.parent.name)}</a></li>'
        for page in pages
    )
    text = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>PaCa-ViT: reports</title>\n'
        f"<h1>PaCa-ViT: reports by scale</h1>\n<ul>\n{links}\n</ul>\n</html>\n"
    )
    if not _INDEX.exists() or _INDEX.read_text() != text:
        with atomic_file(_INDEX) as temporary:
            temporary.write_text(text)
