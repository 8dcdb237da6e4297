"""Folders of images and label maps become a segmentation data set; no image is lost and no label is shifted."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES, picture
from PIL import Image
from pydantic import ValidationError

from pacavit import params
from pacavit.data import sources
from pacavit.data.archives import user_files
from pacavit.data.manifest import read_manifest
from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.openmmlab import datasets

SPLITS = ("train", "val")


def label_map(path: str, labels: int | list | np.ndarray, dtype: type = np.uint8) -> Path:
    """Write a label map of 48 × 36 pixels: of one label, or of stripes."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    stripes = np.resize(np.repeat(np.atleast_1d(np.array(labels, dtype)), 48), (36, 48))
    Image.fromarray(stripes).save(path)
    return Path(path)


def folders(*names: str, labels: int | list = (1, 2), **options) -> dict[str, object]:
    """Write two splits of images with label maps, and return where they are."""
    where: dict[str, object] = {"classes": ["sky", "old house"], **options}
    for number, split in enumerate(SPLITS):
        for i, name in enumerate(names or ("0.png", "1.jpg")):
            image = picture(f"mine/{split}/images/{name}", 10 * number + i)
            label_map(f"mine/{split}/labels/{Path(name).with_suffix('.png')}", labels)
            assert image.is_file()
        where[split] = {"images": f"mine/{split}/images", "labels": f"mine/{split}/labels"}
    return where


@pytest.fixture
def prepare(from_source):
    """A function that packs and prepares folders, and returns the job of the preparation."""

    def create(where: dict[str, object]) -> Job:
        provide, prepare = from_source("ade20k", kind="folder", **where)
        sources.provide(provide)
        MODULES["ade20k"].prepare(prepare)
        return prepare

    return create


@pytest.fixture
def refused(from_source):
    """A function that packs folders, which is refused with a message, and leaves no archive."""

    def create(where: dict[str, object], message: str) -> None:
        provide, _ = from_source("ade20k", kind="folder", **where)
        with pytest.raises(PacavitError, match=message):
            sources.provide(provide)
        assert not any(path.exists() for path in provide.outputs.values())

    return create


def labels_of(job: Job, split: str = "training", number: int = 1) -> np.ndarray:
    name = {"training": "train", "validation": "val"}[split]
    path = job.outputs["data"] / "annotations" / split / f"ADE_{name}_{number:08d}.png"
    return np.asarray(Image.open(path))


def test_pairs_of_images_and_label_maps_become_a_segmentation_data_set(prepare):
    where = folders()
    label_map("mine/train/labels/1.png", 2)
    job = prepare(where)
    manifest = read_manifest(job.outputs["data"])
    assert (manifest["classes"], manifest["counts"]) == (["sky", "old house"], {"train": 2, "val": 2})
    assert np.unique(labels_of(job, number=2)).tolist() == [2]
    known = user_files(job.inputs["all"], ["ADE_train_00000002.jpg", "ADE_train_00000002.png"])
    assert sorted(known.values()) == ["mine/train/images/1.jpg", "mine/train/labels/1.png"]


def test_images_in_folders_below_are_found(prepare):
    names = ["a.png", "deep/a.png", "deep/er/b.jpg", "Zürich 1/c.tif"]
    job = prepare(folders(*names))
    assert read_manifest(job.outputs["data"])["counts"] == {"train": 4, "val": 4}
    known = user_files(job.inputs["all"], [f"ADE_val_{number:08d}.png" for number in range(1, 5)])
    found = {str(Path(path).relative_to("mine/val/labels").with_suffix("")) for path in known.values()}
    assert found == {"a", "deep/a", "deep/er/b", "Zürich 1/c"}


def test_label_maps_below_the_images_are_no_images(prepare):
    where = folders()
    for split in SPLITS:
        Path(f"mine/{split}/labels").rename(f"mine/{split}/images/labels")
        where[split] = {"images": f"mine/{split}/images", "labels": f"mine/{split}/images/labels"}
    assert read_manifest(prepare(where).outputs["data"])["counts"] == {"train": 2, "val": 2}


def test_label_maps_among_the_images_are_refused(refused):
    where = folders()
    where["train"] = {"images": "mine/train/images", "labels": "mine/train/images/../images"}
    refused(where, r"mine/train/images: is train\.images and train\.labels; move the label maps")
    where = folders("0.jpg", "1.jpg")
    for i in range(2):
        label_map(f"mine/train/images/{i}.png", 1)
    refused(where, r"0\.jpg and mine/train/images/0\.png: have the same label map, mine/train/labels/0\.png")


def test_a_split_inside_the_other_is_refused(refused):
    where = folders()
    Path("mine/val/images").rename("mine/train/images/val")
    where["val"] = {"images": "mine/train/images/val", "labels": "mine/val/labels"}
    refused(
        where, r"mine/train/images: is train\.images and holds mine/train/images/val, which is val\.images"
    )


def test_what_is_no_pair_is_named(prepare, capsys):
    where = folders()
    Path("mine/train/images/Thumbs.db").write_bytes(b"thumbs")
    Path("mine/train/images/.DS_Store").touch()
    label_map("mine/train/labels/old.png", 1)
    assert read_manifest(prepare(where).outputs["data"])["counts"] == {"train": 2, "val": 2}
    printed = capsys.readouterr().out
    for reason, path in (
        ("no images", "images/Thumbs.db"),
        ("hidden or of the system", "images/.DS_Store"),
        ("without an image", "labels/old.png"),
    ):
        assert f"1 left out, {reason}: mine/train/{path}" in printed


def test_label_maps_that_do_not_fit_are_named(refused):
    where = folders()
    path = Path("mine/val/labels/1.png")
    Image.fromarray(np.ones((36, 48), np.float32)).save(path, "TIFF")
    refused(where, r"mine/val/labels/1\.png: has floats, and a label map has a whole number a pixel")
    path.unlink()
    refused(where, r"mine/val/labels/1\.png: missing, and mine/val/images/1\.jpg needs it")
    picture(path, 1)
    refused(where, r"mine/val/labels/1\.png: is RGB, and a label map has one number a pixel")
    picture(path, 1, "L", format="JPEG")
    refused(where, r"mine/val/labels/1\.png: is a JPEG, which does not keep numbers")
    Image.new("L", (36, 48)).save(path)
    refused(where, r"1\.png: has 36 × 48 pixels, and mine/val/images/1\.jpg 48 × 36; make them alike")
    path.write_bytes(b"no image")
    refused(where, r"^mine/val/labels/1\.png: not readable as an image")
    shutil.rmtree("mine/val/labels")
    refused(where, r"^mine/val/labels: no such folder; set val\.labels in data\.yaml")


@pytest.mark.parametrize(
    ("options", "labels", "expected"),
    [
        ({}, [1, 2], [1, 2]),
        ({"first_class": 1}, [0, 1, 2], [0, 1, 2]),  # ADE20K's own
        ({"first_class": 0, "ignored": [2]}, [0, 1, 2], [1, 2, 0]),  # CamVid's
        ({"first_class": 0, "ignored": [255]}, [0, 1, 255], [1, 2, 0]),  # Cityscapes'
        ({"first_class": 7, "ignored": [0, 1, 255]}, [0, 1, 7, 8, 255], [0, 0, 1, 2, 0]),
    ],
)
def test_labels_are_counted_as_the_page_says(prepare, options, labels, expected):
    job = prepare(folders(labels=labels, **options))
    assert labels_of(job)[: len(labels), 0].tolist() == expected


@pytest.mark.parametrize(
    ("options", "labels", "label"),
    [
        ({}, [0, 1, 2, 3], 3),
        ({}, [1, 2, 255], 255),
        ({"first_class": 0}, [0, 1, 2], 2),
        ({"ignored": [255]}, [0, 1, 2], 0),
    ],
)
def test_a_label_that_is_no_class_is_refused(refused, options, labels, label):
    refused(
        folders(labels=labels, **options),
        rf"2 label maps of train .*mine/train/labels/0\.png: has label {label}, and classes are .*set first_class",
    )


@pytest.mark.parametrize(
    ("number", "labels", "ways"),
    [
        (2, [0, 1, 2], r"first_class: 1, ignored: \[0\] or first_class: 0, ignored: \[2\]"),
        (3, [0, 1], r"first_class: 1, ignored: \[0\] or first_class: 0, ignored: \[\]"),
        (2, [0, 1], r"first_class: 0, ignored: \[\]"),
    ],
)
def test_what_label_0_means_is_not_guessed(refused, number, labels, ways):
    """Maps counted from 0, with a void label at the end or without one, look like those of ADE20K."""
    where = folders(labels=labels) | {"classes": [f"class {i}" for i in range(number)]}
    refused(where, rf"labels .* seen with {number} classes, .*; set {ways} in data\.yaml")


def test_a_class_cannot_be_ignored(from_source):
    with pytest.raises(ValidationError, match="label 1 is ignored, and is 'old house' by first_class 0"):
        from_source("ade20k", kind="folder", **folders(first_class=0, ignored=[1]))


def test_more_classes_than_a_byte_has_room_for_are_refused(from_source):
    names = [f"class {number}" for number in range(255)]
    with pytest.raises(ValidationError, match="at most 254 items"):
        from_source("ade20k", kind="folder", **{**folders(), "classes": names})


def test_the_last_of_254_classes_is_learnt(prepare):
    names = [f"class {number}" for number in range(254)]
    job = prepare({**folders(labels=[1, 254]), "classes": names})
    assert labels_of(job).max() == 254


def test_beside_a_single_class_0_is_the_background(prepare, refused):
    crack = {"classes": ["crack"]}
    job = prepare({**folders(labels=[0, 1, 9], ignored=[9]), **crack})
    assert labels_of(job)[:3, 0].tolist() == [0, 1, 255]
    assert read_manifest(job.outputs["data"])["classes"] == ["background", "crack"]
    job = prepare({**folders(labels=[0, 255], first_class=255), **crack})
    assert labels_of(job)[:2, 0].tolist() == [0, 1]


def test_a_mask_of_0_and_255_is_not_taken_without_a_word(refused):
    refused(
        {**folders(labels=[0, 255]), "classes": ["crack"]}, r"has label 255, and .*; set first_class: 255"
    )


@pytest.mark.parametrize("mode", ["1", "P", "I;16"])
def test_label_maps_of_every_depth_are_read(prepare, mode):
    where = folders(labels=[0, 1], first_class=1)
    for path in Path("mine").rglob("labels/*.png"):
        values = np.asarray(Image.open(path))
        if mode == "P":
            image = Image.fromarray(values, "P")
            image.putpalette([9, 9, 9, 200, 0, 0])
        else:
            image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else bool))
        assert image.mode == mode
        image.save(path)
    assert labels_of(prepare(where))[:2, 0].tolist() == [0, 1]


@pytest.mark.parametrize("split", SPLITS)
def test_maps_without_any_label_are_refused(refused, split):
    where = folders()
    for i in range(2):
        label_map(f"mine/{split}/labels/{i}.png", 0)
    refused(
        where, rf"mine/{split}/labels: no pixel of any class in the 2 label maps of {split}; set first_class"
    )


def test_single_maps_without_a_label_are_named(prepare, capsys):
    where = folders(first_class=1)
    label_map("mine/train/labels/1.png", 0)
    prepare(where)
    assert "1 of 2 label maps have no label: mine/train/labels/1.png" in capsys.readouterr().out


def test_shares_of_the_classes_are_printed(prepare, capsys):
    prepare(folders(labels=[0, 1, 1, 1], first_class=1))
    printed = capsys.readouterr().out
    assert "prepare ade20k: share of the pixels of train and val" in printed
    assert "  sky: 75.00%, 75.00%" in printed
    assert "  old house: 0.00%, 0.00%, nowhere" in printed
    assert "  (no label): 25.00%, 25.00%" in printed


def turned(path: str, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rng = np.random.default_rng(orientation)
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(path, exif=exif)


def test_a_turned_photograph_is_packed_upright_as_its_label_map_is(prepare, refused):
    where = folders("0.png", "1.png")
    turned("mine/train/images/0.png", 3, (48, 36))
    turned("mine/train/images/1.png", 6, (36, 48))
    stored = {i: np.asarray(Image.open(f"mine/train/images/{i}.png")) for i in range(2)}
    folder = prepare(where).outputs["data"] / "images" / "training"
    for i, turns in ((0, 2), (1, -1)):
        upright = np.asarray(Image.open(folder / f"ADE_train_{i + 1:08d}.jpg"))
        assert (upright == np.rot90(stored[i], turns)).all()


def test_a_label_map_of_a_photograph_as_stored_is_refused(refused):
    where = folders("0.png")
    turned("mine/train/images/0.png", 6, (48, 36))
    refused(
        where, r"labels/0\.png: has 48 × 36 pixels, and .*images/0\.png 36 × 48 after it was turned upright"
    )


def test_images_of_every_kind_are_packed_in_one_way(prepare):
    names = ["a.tga", "b.pcx", "c.gif", "d.tif", "e.bmp", "f.webp"]
    job = prepare(folders(*names))
    for path in sorted((job.outputs["data"] / "images").rglob("*.jpg")):
        assert Image.open(path).format in ("PNG", "WEBP")
    assert read_manifest(job.outputs["data"])["counts"] == {"train": 6, "val": 6}


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_the_smallest_and_the_narrowest_images_go_through_the_pipelines(prepare, scale):
    where = folders("0.png", "1.png", "2.png")
    for split in SPLITS:
        for i, size in enumerate([(2, 2), (1000, 10), (2, 200)]):
            Image.new("RGB", size).save(f"mine/{split}/images/{i}.png")
            Image.new("L", size, 1).save(f"mine/{split}/labels/{i}.png")
    data = prepare(where).outputs["data"]
    recipe = params.load(scale).ade20k.recipe
    for split, pipeline in zip(
        SPLITS, (datasets.segmentation_training(recipe), datasets.segmentation_testing(recipe)), strict=True
    ):
        read = datasets.segmentation(data, split, pipeline)
        assert all(min(read[i]["inputs"].shape) >= 1 for i in range(3))


def test_shared_images_are_counted(prepare, capsys):
    where = folders("0.png", "1.png")
    Path("mine/val/images/1.png").write_bytes(Path("mine/train/images/0.png").read_bytes())
    assert read_manifest(prepare(where).outputs["data"])["shared"] == 1
    assert "mine/val/images/1.png = mine/train/images/0.png" in capsys.readouterr().out


def test_of_other_archives_an_image_that_readers_differ_on_is_named(prepare, from_source):
    job = prepare(folders("0.png"))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 36)).save(buffer, "JPEG", exif=exif)
    mine = Path("archives/ADEChallengeData2016.zip")
    mine.parent.mkdir()
    with zipfile.ZipFile(job.inputs["all"]) as old, zipfile.ZipFile(mine, "w") as new:
        for name in old.namelist():
            new.writestr(
                name, buffer.getvalue() if name.endswith("ADE_train_00000001.jpg") else old.read(name)
            )
    provide, again = from_source("ade20k", kind="own", directory="archives", verify="nothing")
    sources.provide(provide)
    with pytest.raises(
        PacavitError, match=r"ADE_train_00000001\.jpg \(turned upright, which readers differ on"
    ):
        MODULES["ade20k"].prepare(again)
