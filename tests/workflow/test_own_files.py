"""A user's own folders and archives are inputs: a change of them is seen, by Snakemake and by DVC."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from few_pictures import hashes
from workflow_repository import Checkout

from pacavit.data.registry import DATASETS

WEIGHTS = "checkpoints/mini/coco/test_pacavit/seed0.safetensors"
FOLLOWING = {"archives_coco", "prepare_coco", "coco@test_pacavit-0"}
COCO = {
    "kind": "folder",
    **{
        split: {"images": f"photos/{split}", "annotations": f"photos/{split}.json"}
        for split in ("train", "val")
    },
}


def with_photos(checkout: Checkout, **options) -> Checkout:
    """Let the scale `mini` detect in a folder of photographs."""
    for split in ("train", "val"):
        folder = checkout.folder / "photos" / split
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.jpg").write_bytes(b"%d" % number)
        annotations(checkout, split).write_text('{"categories": []}')
    with open(checkout.folder / ".gitignore", "a") as ignored:
        ignored.write("/photos/\n")
    checkout.change("data", "coco.archives", {**COCO, **options})
    return checkout


def annotations(checkout: Checkout, split: str = "train"):
    return checkout.folder / "photos" / f"{split}.json"


def correct(checkout: Checkout) -> None:
    annotations(checkout).write_text('{"categories": ["one more"]}')


@pytest.mark.slow
def test_corrected_annotations_are_packed_again_and_trained_on(unbuilt):
    checkout = with_photos(unbuilt)
    assert checkout.snakemake(WEIGHTS) >= FOLLOWING
    assert "Nothing to be done" in checkout.run("snakemake", "-n", WEIGHTS)
    correct(checkout)
    assert checkout.snakemake(WEIGHTS) == FOLLOWING
    assert checkout.snakemake(WEIGHTS) == set()
    assert "photos/train.json has changed" in (checkout.folder / "work/again/mini/archives_coco").read_text()
    ran = checkout.ran()
    checkout.run("dvc", "repro", "coco@test_pacavit-0")
    assert checkout.ran() == ran  # what Snakemake ran is done for DVC


@pytest.mark.slow
def test_dvc_sees_a_correction_by_itself(unbuilt):
    checkout = with_photos(unbuilt)
    checkout.run("pacavit", "dvc")
    checkout.run("dvc", "repro", "coco@test_pacavit-0")
    ran = checkout.ran()
    checkout.run("dvc", "repro", "coco@test_pacavit-0")
    assert checkout.ran() == ran
    correct(checkout)
    checkout.run("dvc", "repro", "coco@test_pacavit-0")
    assert set(checkout.ran()[len(ran) :]) == FOLLOWING
    assert checkout.snakemake(WEIGHTS) == set()


@pytest.mark.slow
def test_a_folder_that_is_gone_leaves_everything_up_to_date_here_and_in_a_clone(unbuilt, tmp_path):
    checkout = with_photos(unbuilt)
    checkout.snakemake(WEIGHTS)
    os.utime(annotations(checkout))
    assert checkout.snakemake(WEIGHTS) == {"archives_coco"}  # what follows is taken from DVC's cache
    shutil.rmtree(checkout.folder / "photos")
    ran = checkout.ran()
    assert checkout.snakemake(WEIGHTS) == set()
    checkout.run("dvc", "repro", "coco@test_pacavit-0")
    assert checkout.ran() == ran
    checkout.run("git", "add", "--all")
    checkout.run("git", "commit", "--quiet", "--message", "Run")
    checkout.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--default", "--local", "store", str(checkout.folder / ".dvc/cache"))
    clone.run("dvc", "pull", "--quiet", check=False)  # some targets were not made
    assert clone.snakemake(WEIGHTS) == set()


@pytest.mark.slow
def test_what_stands_where_the_pipeline_writes_is_left_alone(unbuilt):
    unbuilt.run("pacavit", "dvc")
    archives = unbuilt.folder / "data/mini/archives/coco"
    photos = unbuilt.folder / "data/mini/ade20k/photos"
    for path in (*(archives / file.name for file in DATASETS["coco"].files.values()), photos / "1.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{path.name} of the user's")
    before = hashes(archives), hashes(photos)
    refused = "data/mini/ade20k: would be replaced, and holds files that this project has not written"
    assert refused in unbuilt.run("snakemake", "--cores", "1", "data/mini/ade20k", check=False)
    source = {"kind": "own", "directory": "data/mini/archives/coco", "verify": "nothing"}
    unbuilt.change("data", "coco.archives", source)
    real = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    unbuilt.run("dvc", "repro", "archives_coco", **real)
    assert refused in unbuilt.run("dvc", "repro", "prepare_ade20k", check=False, **real)
    assert (hashes(archives), hashes(photos)) == before
