"""The clusters that a file of weights makes of images of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pacavit.checkpoints.inspection import restore
from pacavit.checkpoints.tables import Contents
from pacavit.errors import PacavitError
from pacavit.figures import clusters, pages
from pacavit.files import atomic_directory, write_json
from pacavit.interpretation.views import observe
from pacavit.prediction.images import find, read


def explain(
    images: Sequence[Path],
    weights: Path,
    variant: str | None,
    target: Path,
    side: int,
    at: tuple[float, float] = (0.5, 0.5),
    names: Sequence[str] | None = None,
) -> str:
    """Write figures of the clusters on images, their numbers, and a page on which one clicks patches.

    Args:
        images: files, and folders of them.
        weights: of a classifier, a detector or a segmentor.
        variant: what they are of; told from the file without one.
        target: folder that takes ``clusters.png``, ``assignments.png``, ``attention.png``, ``view.json`` and
            ``index.html``.
        side: length of the shorter side in the model, pixels.
        at: patch of the attention's figure, as share of height and width.
        names: of the classes, for the head of a segmentor.

    Returns:
        A line on what was written.

    Raises:
        PacavitError: a file cannot be read, the weights do not fit, the names are not as many as the classes, or the
            folder is there already.
    """
    if target.exists():
        raise PacavitError(f"{target}: is there already; name a new folder with --to, or remove it")
    files = find(images, target)
    model, found = restore(weights, variant)
    names = _names(found, names)
    pictured = [
        clusters.Pictured(name, image, observe(model, image, names))
        for name, image in ((file.name, _sized(read(file.path), side)) for file in files)
    ]
    title = f"{found.variants[0]}, {found.task}"
    with atomic_directory(target) as folder:
        clusters.draw_clusters(folder / "clusters.png", pictured, title)
        clusters.draw_assignments(folder / "assignments.png", pictured, title)
        clusters.draw_attention(folder / "attention.png", pictured, title, at)
        view = [clusters.as_json(item) for item in pictured]
        write_json(folder / "view.json", view)
        about = f"Weights of {weights.name}: {found.task}, shorter side {side} pixels."
        pages.write(
            folder / "index.html", "explain.html", title=f"Clusters of {title}", about=about, view=view
        )
    return f"{target / 'index.html'}: clusters on {len(files)} images; figures and numbers beside it"


def _sized(image: Image.Image, side: int) -> Image.Image:
    share = side / min(image.size)
    return image.resize(tuple(max(side, round(length * share)) for length in image.size))


def _names(found: Contents, names: Sequence[str] | None) -> Sequence[str] | None:
    if found.head != "paca":
        return None
    if names is None:
        return [f"class {number}" for number in range(found.classes or 0)]
    if len(names) != found.classes:
        raise PacavitError(f"--classes: {len(names)} names, and the head has {found.classes} classes")
    return names
