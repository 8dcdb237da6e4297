"""What the tests of data share beside fixtures."""

from pathlib import Path

from pacavit.data import ade20k, coco, imagenet
from pacavit.files import sha256

MODULES = {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
