"""The clusters that a file of weights makes of images of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pacavit.checkpoints.inspection import restore
from pacavit.checkpoints.tables import Contents
from pacavit.errors import PacavitError
from pacavit.figures import clusters, pages
from pacavit.files import atomic_directory, write_json
from pacavit.interpretation.views import observe

#: The model halves the grid five times.
LEAST = 32


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
        images: files that Pillow reads.
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
    shown = [_read(path, side) for path in images]
    model, found = restore(weights, variant)
    names = _names(found, names)
    pictured = [
        clusters.Pictured(path.name, image, observe(model, image, names))
        for path, image in zip(images, shown, strict=True)
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
    return f"{target / 'index.html'}: clusters on {len(images)} images; figures and numbers beside it"


def _read(path: Path, side: int) -> Image.Image:
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "no image that Pillow reads"
        )
        raise PacavitError(f"{path}: {reason}; name image files") from error
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
