"""What the tests of data share beside fixtures."""

from pathlib import Path

import numpy as np
from PIL import Image

from pacavit.data import ade20k, coco, imagenet
from pacavit.files import sha256

MODULES = {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def picture(path: Path | str, number: int = 0, mode: str = "RGB", **options) -> Path:
    """Write an image of 48 × 36 pixels of noise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (36, 48, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path
