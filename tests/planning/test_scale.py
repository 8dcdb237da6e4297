"""A scale for images of one's own: its pages hold, and fit what was seen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pacavit import params
from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.planning.scale import new

NAMES = ["sky", "door, wooden", "größe"]


@pytest.fixture(autouse=True)
def root(project):
    return project


def pictures(folder: str, number: int, size=(320, 240), suffix: str = ".jpg", mode: str = "RGB") -> Path:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Image.new(mode, size).save(Path(folder, f"{i}{suffix}"))
    return Path(folder)


def classes(folder: str = "my photos", number: int = 5, **options) -> Path:
    for split in ("train", "val"):
        for name in ("dog", "cat", "Ärger"):
            pictures(f"{folder}/{split}/{name}", number, **options)
    return Path(folder)


def detection(objects: int = 3) -> list[Path]:
    """Return images and annotations of both splits."""
    found = []
    for split, number in (("train", 6), ("val", 2)):
        folder = pictures(f"street/{split}", number)
        content = {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "width": 320, "height": 240} for i in range(number)
            ],
            "annotations": [{"id": i, "image_id": 0} for i in range(objects)],
            "categories": [{"id": 1, "name": "car"}, {"id": 3, "name": "bus"}],
        }
        path = Path(f"street/{split}.json")
        path.write_text(json.dumps(content))
        found += [folder, path]
    return found


def segmentation(labels: list[int]) -> list[Path]:
    """Return images and label maps of both splits, in which labels occur in equal parts."""
    found = []
    for split, number in (("train", 4), ("val", 2)):
        found += [pictures(f"city/{split}", number), Path(f"city/{split}_labels")]
        found[-1].mkdir()
        for i in range(number):
            pixels = np.resize(np.array(labels, np.uint8), (240, 320))
            Image.fromarray(pixels).save(found[-1] / f"{i}.png")
    return found


def named(names=NAMES) -> Path:
    path = Path("classes.txt")
    path.write_text("\n".join(names) + "\n\n", encoding="utf-8-sig")
    return path


def test_a_scale_to_classify_fits_photographs():
    text = new("mine", "mini", images=classes())
    given = params.load("mine")
    recipe = given.pretrain.recipe
    assert given.data.imagenet.archives.directory == "my photos"
    assert given.data.imagenet.archives.val_fraction is None
    assert (recipe.image_size, recipe.augmentation.hflip) == (96, 0.5)
    assert recipe.global_batch <= 15
    assert recipe.epochs > params.load("mini").pretrain.recipe.epochs
    assert given.figures.report.title == "mine: 15 train and 15 val images, 3 classes, about 320 × 240 pixels"
    assert "15 train and 15 val images, 3 classes" in text
    assert "snakemake --cores all only_imagenet --config scale=mine" in text


def test_images_without_splits_are_split():
    classes()
    new("mine", "mini", images=Path("my photos/train"))
    assert params.load("mine").data.imagenet.archives.val_fraction == 0.2


def test_a_scale_to_detect_fits_photographs():
    new("mine", "mini", coco=detection(objects=70))
    given = params.load("mine")
    recipe = given.coco.recipe
    assert given.data.coco.archives.train.annotations == "street/train.json"
    assert (recipe.test_side, recipe.max_side, recipe.hflip) == (256, 352, 0.5)
    assert recipe.sides == [192, 224, 256]
    assert recipe.detector.detections == 70
    assert given.data.imagenet == params.load("mini").data.imagenet
    assert given.pretrain == params.load("mini").pretrain


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_annotations_are_read_in_the_encodings_that_are_packed(encoding):
    where = detection()
    for path in where[1::2]:
        path.write_text(path.read_text(), encoding=encoding)
    assert "6 train and 2 val images, 2 classes" in new("mine", "mini", coco=where)


def test_only_folders_that_are_packed_as_classes_count():
    for name in ("dog", "cat", "__MACOSX", ".ipynb_checkpoints"):
        pictures(f"photos/{name}", 5)
    assert "8 train and 2 val images, 2 classes" in new("mine", "mini", images=Path("photos"))
    classes()
    pictures("my photos/test/dog", 3)
    text = new("other", "mini", images=Path("my photos"))
    assert "15 train and 15 val images, 3 classes" in text
    assert "left out, neither train nor val: test" in text
    assert params.load("other").data.imagenet.archives.val_fraction is None


def test_a_scale_to_segment_fits_photographs():
    text = new("mine", "mini", segmentation=segmentation([0, 1, 2, 255]), classes=named())
    given = params.load("mine")
    recipe, source = given.ade20k.recipe, given.data.ade20k.archives
    assert (source.classes, source.first_class, source.ignored) == (NAMES, 0, [255])
    assert (recipe.crop, recipe.photometric, recipe.hflip) == (256, True, 0.5)
    assert recipe.scale == [342, 256]
    assert "label 0 is 'sky', 2 is 'größe', no class: 255; seen: 0 (25.0%)" in text


def test_all_three_may_be_given_together():
    new("mine", "mini", classes(), detection(), segmentation([1, 2, 3]), named())
    archives = params.load("mine").data
    assert {archives.imagenet.archives.kind, archives.coco.archives.kind, archives.ade20k.archives.kind} == {
        "folder"
    }


def test_a_scale_like_the_papers_has_its_recipe_and_smallest_model():
    new("mine", "paper", images=classes(size=(640, 480)))
    given, paper = params.load("mine"), params.load("paper")
    assert given.targets.variants == paper.targets.variants[:1]
    assert given.pretrain.recipe.image_size == 224
    assert given.pretrain.recipe.lr == paper.pretrain.recipe.lr
    assert not given.data.imagenet.prepare.complete


def test_remarks_on_digits_are_gone_where_they_would_be_wrong():
    new("mine", "mini", classes(), detection(), segmentation([1, 2, 3]), named())
    for page in Path("params/mine").glob("*.yaml"):
        assert "digit" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("labels", "names", "first", "ignored"),
    [
        ([1, 2, 3], NAMES, 1, [0]),
        ([0, 1, 2], NAMES, 0, []),
        ([0, 1, 2, 255], NAMES, 0, [255]),
        ([0, 1, 255], NAMES, 0, [255]),
        ([1, 3], NAMES, 1, [0]),
        ([0, 1], ["crack"], 1, []),
        ([1], ["crack"], 1, []),
    ],
)
def test_labels_that_can_be_read_in_one_way_are(labels, names, first, ignored):
    new("mine", "mini", segmentation=segmentation(labels), classes=named(names))
    source = params.load("mine").data.ade20k.archives
    assert (source.first_class, source.ignored) == (first, ignored)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1, 2, 3],
            "several ways with 3 names; say --first-class 1 --ignored 0 or --first-class 0 --ignored 3",
        ),
        ([0, 1], "several ways with 3 names; say --first-class 1 --ignored 0 or --first-class 0"),
        ([0, 1, 2, 3, 4], "do not fit with 3 names; say which label is the first class"),
        ([7, 8, 9], "do not fit with 3 names"),
    ],
)
def test_labels_that_can_be_read_in_several_ways_or_none_are_refused_and_may_be_said(labels, message):
    folders = segmentation(labels)
    with pytest.raises(PacavitError, match=rf"city/train_labels: labels {labels[0]} .*{message}"):
        new("mine", "mini", segmentation=folders, classes=named())
    assert not Path("params/mine").exists()
    new("mine", "mini", segmentation=folders, classes=named(), first_class=labels[0], ignored=[200])
    assert params.load("mine").data.ade20k.archives.first_class == labels[0]


def test_labels_that_are_said_to_be_none_tell_which_is_the_first():
    folders = segmentation([0, 1, 2, 3])
    new("mine", "mini", segmentation=folders, classes=named(), ignored=[3])
    source = params.load("mine").data.ade20k.archives
    assert (source.first_class, source.ignored) == (0, [3])
    with pytest.raises(PacavitError, match="do not fit with 3 names; say which label is the first class"):
        new("other", "mini", segmentation=folders, classes=named(), ignored=[2])


def test_label_maps_in_colours_are_refused():
    folders = segmentation([1, 2, 3])
    Image.new("RGB", (320, 240)).save(folders[1] / "0.png")
    with pytest.raises(PacavitError, match=r"city/train_labels/0\.png: is RGB; expected a label map"):
        new("mine", "mini", segmentation=folders, classes=named())


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["a\tb", "c"], {}, r"^\S+: the name of class 1 of 2 is 'a\\tb'; expected a name"),
        (NAMES, {"first_class": 1, "ignored": [2]}, "label 2 is ignored, and is 'door, wooden'"),
        ([f"class {i}" for i in range(300)], {"first_class": 1}, "classes: "),
    ],
)
def test_classes_that_a_page_does_not_take_are_one_line(names, options, message):
    with pytest.raises(PacavitError, match=message) as refused:
        new("mine", "mini", segmentation=segmentation([1, 2]), classes=named(names), **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": Path("none")}, "none: no such folder"),
        ({"images": Path("my photos/train/dog")}, "0 class folders; expected .* two or more"),
        ({"images": Path("mixed")}, "test and train are splits, not classes; name them train and val"),
        ({"images": Path("large")}, "Train and Val are splits, not classes; name them train and val"),
        ({"images": Path("empty")}, "no image that can be opened among 0 files"),
        ({"coco": [Path("mixed"), Path("none.json")] * 2}, "none.json: cannot be read"),
        ({"coco": [Path("mixed"), Path("null.json")] * 2}, r"null.json is not COCO's JSON \(a null\)"),
        ({"coco": [Path("mixed"), Path("empty.json")] * 2}, "empty.json: no images in it"),
        ({"segmentation": segmentation}, "name the classes with --classes FILE"),
        ({"segmentation": [Path("none")] * 4}, "none: no such folder"),
    ],
)
def test_what_is_no_such_data_is_refused_and_nothing_is_written(arguments, message):
    classes()
    Path("mixed/test").mkdir(parents=True)
    Path("mixed/train").mkdir()
    for split in ("Train", "Val"):
        pictures(f"large/{split}/cat", 3)
    Path("null.json").write_text("null")
    Path("empty.json").write_text('{"images": [], "annotations": [], "categories": []}')
    Path("empty/a").mkdir(parents=True)
    Path("empty/b").mkdir()
    arguments = {key: value([0, 1]) if callable(value) else value for key, value in arguments.items()}
    with pytest.raises(PacavitError, match=message):
        new("mine", "mini", **arguments)
    assert sorted(path.name for path in Path("params").iterdir()) == ["mini", "paper"]


def test_a_scale_that_is_there_is_left_alone():
    with pytest.raises(PacavitError, match="params/paper: there already; choose another name"):
        new("paper", "mini", images=classes())
    with pytest.raises(PacavitError, match="expected a folder below params/"):
        new("a/b", "mini", images=Path("my photos"))


def test_the_command_as_typed_from_a_folder_below(root, monkeypatch):
    classes("notes/photos")
    monkeypatch.chdir("notes")
    result = CliRunner().invoke(cli, ["scale", "new", "mine", "--images", "photos"])
    assert result.exit_code == 0, result.output
    assert params.load("mine").data.imagenet.archives.directory == "notes/photos"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to train on; give --images, --coco or --segmentation"),
        (["--images", "photos", "--classes", "a.txt"], "are for --segmentation"),
        (["--segmentation", "a", "b", "c", "d", "--ignored", "3"], "--ignored needs --first-class"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message):
    result = CliRunner().invoke(cli, ["scale", "new", "mine", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_the_pages_of_a_scale_are_those_of_another(root):
    new("mine", "mini", images=classes())
    assert {p.name for p in Path("params/mine").iterdir()} == {p.name for p in Path("params/mini").iterdir()}
    shutil.rmtree("my photos")
    assert params.load("mine").claims == params.load("mini").claims
