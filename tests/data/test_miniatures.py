"""The miniatures: real digits, official layouts, the same bytes for a seed, and preparation that trusts nothing."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES, hashes
from PIL import Image
from torch.utils.data import DataLoader

from jobs import describe, with_archives
from pacavit import params
from pacavit.data import coco, digits, imagenet, sources
from pacavit.data.miniatures import coco as coco_miniature
from pacavit.data.miniatures import imagenet as imagenet_miniature
from pacavit.errors import PacavitError


@pytest.mark.slow
@pytest.mark.parametrize("dataset", MODULES)
def test_a_seed_gives_the_same_bytes_and_another_seed_others(prepared, dataset):
    folder = prepared(dataset)
    archive = folder.parent / "archives" / dataset
    first = hashes(archive), hashes(folder)
    prepared(dataset)
    assert (hashes(archive), hashes(folder)) == first
    prepared(dataset, seed=1)
    assert hashes(archive) != first[0]


@pytest.mark.parametrize("dataset", MODULES)
def test_the_manifest_tells_every_file(prepared, dataset):
    folder = prepared(dataset)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"train": 40, "val": 12}
    assert manifest["files"] == {
        name: value for name, value in hashes(folder).items() if name != "manifest.json"
    }


def test_training_and_validation_share_no_source_digit():
    train, val = (digits.source_digits(split, 0)[0].reshape(-1, 64) for split in ("train", "val"))
    assert len(train) + len(val) == 1797
    known = {ink.tobytes() for ink in train}
    # A few of the 1,797 digits are pixel by pixel alike; those that are one and the same never are in both.
    assert sum(ink.tobytes() in known for ink in val) == 0


def test_imagenet_reads_what_the_archives_hold(prepared):
    root = prepared("imagenet")
    for split, count in (("train", 40), ("val", 12)):
        images = pickle.loads(pickle.dumps(imagenet.ImageNetShards(root, split)))
        assert len(images) == count
        assert all(image.mode == "RGB" for image, _ in images)
    train = imagenet.ImageNetShards(root, "train")
    assert train.classes == list("0123456789")
    for i in range(40):
        name, label = train.name(i), train[i][1]
        number = int(name.rsplit("_")[-1].split(".")[0])
        assert digits.digit_picture("train", 0, number)[1] == label == int(name[1:9])
    val = imagenet.ImageNetShards(root, "val")
    assert [val[i][1] for i in range(12)] == [digits.digit_picture("val", 0, i)[1] for i in range(12)]


def test_imagenet_is_read_by_workers(prepared):
    images = imagenet.ImageNetShards(prepared("imagenet"), "val")
    loader = DataLoader(images, batch_size=None, num_workers=2)
    assert [label for _, label in loader] == [images[i][1] for i in range(12)]


def test_ilsvrcs_own_numbers_are_not_in_the_order_of_the_classes(prepared):
    devkit = prepared("imagenet").parent / "archives/imagenet/ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(devkit) as archive:
        text = archive.extractfile("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt").read()
    labels = [digits.digit_picture("val", 0, i)[1] for i in range(12)]
    assert [int(line) for line in text.split()] != [label + 1 for label in labels]


def test_odd_images_are_among_the_others():
    modes = {
        Image.open(io.BytesIO(digits.encode(np.zeros((8, 8, 3), np.uint8), digits.generator(0, 2, i)))).mode
        for i in range(100)
    }
    assert modes == {"RGB", "L", "CMYK"}
    assert (
        Image.open(io.BytesIO(imagenet_miniature._encoded(np.zeros((8, 8, 3), np.uint8), 0, 0))).format
        == "PNG"
    )


def test_coco_has_crowds_empty_images_and_gaps_between_categories(prepared):
    from pycocotools.coco import COCO

    truth = COCO(str(coco.annotation_file(prepared("coco", train_images=80), "train")))
    assert len(truth.getCatIds()) == 10 < max(truth.getCatIds())
    with_objects = {a["image_id"] for a in truth.anns.values()}
    assert set(truth.getImgIds()) - with_objects
    crowds = [a for a in truth.anns.values() if a["iscrowd"]]
    assert crowds
    assert all(isinstance(a["segmentation"]["counts"], list) for a in crowds)
    for annotation in truth.anns.values():
        assert truth.annToMask(annotation).sum() == pytest.approx(annotation["area"])


def test_run_lengths_of_a_crowd_are_the_mask():
    from pycocotools import mask as rle

    masks = [np.random.default_rng(i).random((5, 7)) > 0.5 for i in range(20)] + [np.ones((5, 7), bool)]
    for mask in masks:
        packed = rle.frPyObjects(coco_miniature._crowd_rle(mask), *mask.shape)
        assert np.array_equal(rle.decode(packed).astype(bool), mask)


def test_ade20k_has_digits_textures_and_unlabelled_pixels(prepared):
    root = prepared("ade20k")
    labels = {int(v) for path in root.glob("annotations/training/*.png") for v in np.unique(Image.open(path))}
    assert 0 in labels
    assert labels <= set(range(15))
    assert {11, 12, 13, 14} <= labels
    assert json.loads((root / "manifest.json").read_text())["classes"] == [*digits.CLASSES, *digits.TEXTURES]


def rewrite(path: Path, change) -> None:
    """Write a zip archive again with ``change(name, content)`` for each member; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            new = change(name, content)
            if new is not None:
                archive.writestr(name, new)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_annotations(path: Path, change) -> None:
    def edit(name, content):
        if "val" not in name:
            return content
        annotations = json.loads(content)
        change(annotations)
        return json.dumps(annotations)

    rewrite(path, edit)


DAMAGE = {
    "cut tar": ("imagenet", "train", cut, "ILSVRC2012_img_train.tar: truncated or corrupt archive"),
    "cut devkit": ("imagenet", "devkit", cut, "devkit_t12.tar.gz: truncated or corrupt archive"),
    "cut zip": ("coco", "val", cut, "val2017.zip: truncated or corrupt archive.*run `pacavit archives coco`"),
    "broken image": (
        "coco",
        "val",
        lambda path: rewrite(path, lambda name, content: content[:200] if "003.jpg" in name else content),
        r"1 broken images in the archive; .*000000000003\.jpg \(",
    ),
    "missing image": (
        "coco",
        "val",
        lambda path: rewrite(path, lambda name, content: None if "003.jpg" in name else content),
        "image 000000000003.jpg is not in the archive",
    ),
    "empty annotations": (
        "coco",
        "annotations",
        lambda path: rewrite(path, lambda name, content: b"" if "val" in name else content),
        "instances_val2017.json is empty",
    ),
    "no annotations in them": (
        "coco",
        "annotations",
        lambda path: change_annotations(path, lambda content: content["annotations"].clear()),
        "no annotations in it",
    ),
    "unknown category": (
        "coco",
        "annotations",
        lambda path: change_annotations(
            path, lambda content: content["annotations"][0].update(category_id=99)
        ),
        "annotation 1 is of an unknown category",
    ),
    "unknown class": (
        "ade20k",
        "all",
        lambda path: rewrite(
            path, lambda name, content: white_png() if "val_00000002.png" in name else content
        ),
        "ADE_val_00000002.png has class 255, but there are 14|not one byte a pixel",
    ),
    "no label map": (
        "ade20k",
        "all",
        lambda path: rewrite(path, lambda name, content: None if "val_00000002.png" in name else content),
        "no annotations/validation/ADE_val_00000002.png",
    ),
}


def white_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (128, 112), 255).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_and_leaves_what_was_there(prepared, make_job, damage):
    dataset, archive, spoil, message = DAMAGE[damage]
    folder = prepared(dataset)
    before = hashes(folder)
    job = make_job(f"prepare_{dataset}")
    spoil(job.inputs[archive])
    with pytest.raises(PacavitError, match=message) as caught:
        MODULES[dataset].prepare(job)
    assert "\n" not in str(caught.value)
    assert hashes(folder) == before
    assert {path.name for path in folder.parent.iterdir()} == {"archives", dataset}


def test_a_shard_is_closed_at_its_size(prepared, monkeypatch):
    monkeypatch.setattr(imagenet, "_MEGABYTE", 4096)
    root = prepared("imagenet")
    assert len(list(root.glob("train-*.tar"))) > 3
    train = imagenet.ImageNetShards(root, "train")
    assert len([train[i] for i in range(len(train))]) == 40


def test_archives_of_ones_own_are_linked_or_missed_by_name(make_job, tmp_path):
    own = {"kind": "own", "directory": "mine", "verify": "size"}
    job = describe("archives_ade20k", with_archives(params.load("mini"), "ade20k", own))
    with pytest.raises(
        PacavitError, match=r"mine/ADEChallengeData2016\.zip: missing or empty; fetch the official"
    ):
        sources.provide(job)
    Path("mine").mkdir()
    Path("mine/ADEChallengeData2016.zip").write_bytes(b"archive")
    sources.provide(job)
    assert job.outputs["all"].read_bytes() == b"archive"


@pytest.mark.parametrize(("visible", "placed"), [(0.6, 1), (0.4, 2)])
def test_a_digit_that_would_hide_too_much_of_another_is_not_placed(visible, placed):
    rng = np.random.default_rng(0)
    drawn = digits.Scene(np.full((16, 16, 3), 200, np.uint8), np.zeros((16, 16), int))
    square = np.ones((8, 8))
    for left in (0, 4):  # the second covers half of the first
        digits._add(drawn, [(square, 8, 0, left)], label=3, visible=visible, rng=rng)
    assert [instance.mask.sum() for instance in drawn.instances] == ([64] if placed == 1 else [32, 64])
