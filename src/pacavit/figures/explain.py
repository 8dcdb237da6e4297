"""The clusters that a file of weights makes of the user's own images."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pacavit.checkpoints.inspection import restore
from pacavit.checkpoints.tables import Contents
from pacavit.errors import PacavitError
from pacavit.figures import clusters, pages
from pacavit.files import atomic_directory
from pacavit.interpretation.views import observe
from pacavit.prediction.images import find, read, require_folder
from pacavit.prediction.trained import read_classes
from pacavit.runtime.progress import report
from pacavit.tasks import TASKS

#: Images in one call: a figure has some rows of each.
MOST = 20


def explain(
    images: Sequence[Path],
    weights: Path,
    variant: str | None,
    target: Path,
    side: int,
    at: tuple[float, float] = (0.5, 0.5),
    class_file: Path | None = None,
) -> str:
    """Write figures of the clusters on images, their numbers, and a page on which one clicks patches.

    Args:
        images: files, and folders of them.
        weights: of a classifier, a detector or a segmentor.
        variant: what they are of; told from the file without one.
        target: folder that takes ``clusters.png``, ``assignments.png``, ``attention.png``, ``view.json`` and
            ``index.html``.
        side: length of the shorter side in the model, pixels; less for elongated images, as of
            :func:`pacavit.figures.clusters.sized`.
        at: patch of the attention's figure, as share of height and width.
        class_file: names of the classes, a line each, for the PaCa head of a segmentor.

    Returns:
        A line on what was written.

    Raises:
        PacavitError: a file cannot be read, there are too many of them for one figure, the weights do not fit, the
            names are not as many as the classes or of no use, or the folder is there already.
    """
    if os.path.lexists(target):
        raise PacavitError(f"{target}: is there already; name a new folder with --to, or remove it")
    require_folder(target)
    files = find(images, target)
    if len(files) > MOST:
        raise PacavitError(
            f"{len(files)} images: figures hold {MOST} at most; name fewer, or call it several times"
        )
    model, found = restore(weights, variant)
    if not found.model.is_paca:
        raise PacavitError(
            f"{weights}: holds {found.model.model}, which has no clusters; `pacavit predict` shows what it finds"
        )
    names = _names(found, class_file)
    pictured = []
    for file in files:
        whole = read(file.path)
        image = clusters.sized(whole, side)
        if clusters.elongated(whole):
            report(
                f"{file.path}: {whole.width} × {whole.height} pixels, more than {clusters.ELONGATED} times as long as "
                f"wide: shown at {image.width} × {image.height}"
            )
        pictured.append(clusters.Pictured(file.name, image, observe(model, image, names)))
    title = f"{found.variants[0]}, {found.task}"
    with atomic_directory(target) as folder:
        clusters.draw_clusters(folder / "clusters.png", pictured, title)
        clusters.draw_assignments(folder / "assignments.png", pictured, title)
        clusters.draw_attention(folder / "attention.png", pictured, title, at)
        clusters.write_view(folder / "view.json", pictured)
        view = json.loads((folder / "view.json").read_text())
        about = f"Weights of {weights.name}: {found.task}, shorter side {side} pixels."
        if any(max(item.image.size) > clusters.ELONGATED * side for item in pictured):
            about += f" Images more than {clusters.ELONGATED} times as long as wide are shown smaller."
        pages.write(
            folder / "index.html", "explain.html", title=f"Clusters of {title}", about=about, view=view
        )
    return f"{target / 'index.html'}: clusters on {len(files)} images; figures and numbers beside it"


def _names(found: Contents, class_file: Path | None) -> Sequence[str] | None:
    if found.head != "paca":
        if class_file is not None:
            raise PacavitError(
                f"--classes {class_file}: the weights have no PaCa head, whose clusters are classes; leave it out"
            )
        return None
    if class_file is None:
        first = TASKS["ade20k"].first_class
        return [f"class {number}" for number in range(first, first + (found.classes or 0))]
    classes = read_classes("ade20k", "", class_file)
    if len(classes) != found.classes:
        raise PacavitError(f"{class_file}: {len(classes)} names, and the head has {found.classes} classes")
    return classes.labels
