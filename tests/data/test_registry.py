"""What is known of the official archives."""

import re

from pacavit import params
from pacavit.data.manifest import differences
from pacavit.data.registry import DATASETS


def test_every_file_has_a_hash_of_its_kinds_length():
    lengths = {"md5": 32, "sha256": 64}
    for info in DATASETS.values():
        for file in info.files.values():
            kind, digits = file.hash.split(":")
            assert re.fullmatch(rf"[0-9a-f]{{{lengths[kind]}}}", digits)
            assert file.url is None or file.url.endswith(f"/{file.name}")


def test_imagenet_alone_has_no_address():
    without = {
        name for name, info in DATASETS.items() if any(file.url is None for file in info.files.values())
    }
    assert without == {"imagenet"}


def test_numbers_that_differ_are_told_in_words():
    classes = [str(i) for i in range(1000)]
    assert differences("imagenet", classes, {"train": 1_281_167, "val": 50_000}) == []
    assert differences("imagenet", classes[:10], {"train": 2400, "val": 50_000}) == [
        "2,400 train images, not 1,281,167",
        "10 classes, not 1000",
    ]


def test_the_paper_insists_on_the_official_numbers(project):
    page = params.load("paper").data
    assert all(getattr(page, name).prepare.complete for name in DATASETS)
