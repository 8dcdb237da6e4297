"""What is known of each data set's official archives: names, sizes, hashes, addresses, terms, counts and oddities.

Sizes are those that the publishers' servers state and that many users report. SHA-256 of COCO are those which public
data loaders check (torchvision-like readers, object-detection mirrors); for ImageNet and ADE20K only MD5 are public, in
torchvision's ``ImageNet`` and in several ADE20K loaders. What could not be verified is None and not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveFile:
    """One official file.

    Attributes:
        name: as published.
        size: bytes, where known.
        hash: ``sha256:…`` or ``md5:…``, where published.
        url: where it may be fetched without an account, or None.
    """

    name: str
    size: int | None
    hash: str | None
    url: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """One data set.

    Attributes:
        title: name and version.
        files: archives by the name that the code uses.
        home: page that tells how to get it.
        terms: licence, in short; the page has the words that count.
        counts: images of each split.
        num_classes: classes that occur.
        oddities: what is known to be odd in it, and is handled.
    """

    title: str
    files: Mapping[str, ArchiveFile]
    home: str
    terms: str
    counts: Mapping[str, int]
    num_classes: int
    oddities: tuple[str, ...] = ()


_COCO = "http://images.cocodataset.org"

DATASETS = {
    "imagenet": DatasetInfo(
        title="ImageNet-1k (ILSVRC2012)",
        files={
            "train": ArchiveFile(
                "ILSVRC2012_img_train.tar", 147_897_477_120, "md5:1d675b47d978889d74fa0da5fadfb00e"
            ),
            "val": ArchiveFile(
                "ILSVRC2012_img_val.tar", 6_744_924_160, "md5:29b22e2961454d5413ddabcf34fc5622"
            ),
            "devkit": ArchiveFile(
                "ILSVRC2012_devkit_t12.tar.gz", None, "md5:fa75699e90414af021442c21a62c3abf"
            ),
        },
        home="https://image-net.org/download-images",
        terms="research and education only, after an account and its agreement",
        counts={"train": 1_281_167, "val": 50_000},
        num_classes=1000,
        oddities=(
            "n02105855_2933.JPEG is a PNG",
            "22 training JPEGs are CMYK",
            "some have damaged Exif data",
        ),
    ),
    "coco": DatasetInfo(
        title="COCO 2017",
        files={
            "train": ArchiveFile(
                "train2017.zip",
                19_336_861_798,
                "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                f"{_COCO}/zips/train2017.zip",
            ),
            "val": ArchiveFile(
                "val2017.zip",
                815_585_330,
                "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                f"{_COCO}/zips/val2017.zip",
            ),
            "annotations": ArchiveFile(
                "annotations_trainval2017.zip",
                252_907_541,
                "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                f"{_COCO}/annotations/annotations_trainval2017.zip",
            ),
        },
        home="https://cocodataset.org/#download",
        terms="annotations CC BY 4.0; images under their photographers' Flickr terms",
        counts={"train": 118_287, "val": 5_000},
        num_classes=80,
        oddities=("images without objects", "crowds as run lengths", "gaps between the category numbers"),
    ),
    "ade20k": DatasetInfo(
        title="ADE20K (ADEChallengeData2016)",
        files={
            "all": ArchiveFile(
                "ADEChallengeData2016.zip",
                None,
                "md5:7328b3957e407ddae1d3cbf487f149ef",
                "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            )
        },
        home="http://sceneparsing.csail.mit.edu",
        terms="images for research and education only; annotations BSD 3-Clause",
        counts={"train": 20_210, "val": 2_000},
        num_classes=150,
    ),
}
