"""What the outputs of a network mean: names that may be equal or hold any sign, and ids that tell them apart."""

import json

import pytest
from few_pictures import MODULES, picture
from test_folders_ade20k import folders

from pacavit.data import sources
from pacavit.data.classes import Classes, check_names, read_names
from pacavit.data.devkit import read_devkit, write_devkit
from pacavit.errors import PacavitError

STRANGE = [
    "door, wooden",
    "door, glass",
    "potter's wheel",
    'a "quote"',
    "US$ 5 $x$",
    "a/b",
    "line\u2028end",
    "🦆 ö",
]


def test_classes_of_one_name_keep_their_own_values_and_are_told_apart():
    classes = Classes(["crane", "maillot", "crane"], ["n02012849", "n03710637", "n03126707"])
    assert classes.labels == ["crane (n02012849)", "maillot", "crane (n03126707)"]
    assert classes.table(top1=[1.0, None, 3.0]) == {
        "n02012849": {"name": "crane", "top1": 1.0},
        "n03710637": {"name": "maillot", "top1": None},
        "n03126707": {"name": "crane", "top1": 3.0},
    }


def test_coco_categories_are_in_the_order_of_their_ids():
    classes = Classes.of_categories([{"id": 7, "name": "b"}, {"id": 10, "name": "a"}, {"id": 0, "name": "c"}])
    assert (classes.ids, classes.names) == ([0, 7, 10], ["c", "b", "a"])


@pytest.mark.parametrize(
    ("dataset", "ids"),
    [
        ("imagenet", [f"n{number:08d}" for number in range(10)]),
        ("coco", [1, 2, 3, 5, 6, 7, 8, 10, 11, 13]),
        ("ade20k", list(range(1, 15))),
    ],
)
def test_a_prepared_data_set_knows_the_ids_of_its_classes(prepared, dataset, ids):
    assert list(Classes.of(prepared(dataset)).ids) == ids


def test_the_names_of_label_maps_are_taken_whole(from_source):
    where = folders(classes=STRANGE)
    provide, prepare = from_source("ade20k", kind="folder", **where)
    sources.provide(provide)
    MODULES["ade20k"].prepare(prepare)
    assert json.loads((prepare.outputs["data"] / "manifest.json").read_text())["classes"] == STRANGE


def test_the_names_of_synsets_are_taken_whole_and_may_be_equal(tmp_path):
    names = [*STRANGE, "crane", "crane"]
    rows = {number: (f"n{number:08d}", name) for number, name in enumerate(names, start=1)}
    write_devkit(tmp_path / "kit.tar.gz", rows, [1, 2])
    synsets, found, _ = read_devkit(tmp_path / "kit.tar.gz")
    assert [found[synset] for synset in synsets] == names


@pytest.mark.parametrize("name", ["", "  ", "\u00a0", "\u200b", "a\nb", "a\tb", "a\0b", "\ud800"])
def test_a_name_that_nobody_can_read_is_refused(name):
    check_names(STRANGE, "mine.json")
    with pytest.raises(PacavitError, match=r"mine\.json: the name of class 2 of 2 is .*; expected a name"):
        check_names(["sky", name], "mine.json")


def test_a_blank_name_of_a_label_is_refused(from_source):
    where = folders(classes=["sky", " "])
    provide, _ = from_source("ade20k", kind="folder", **where)
    with pytest.raises(
        PacavitError, match=r"data\.yaml: ade20k\.archives\.classes: the name of class 2 of 2 is ' '"
    ):
        sources.provide(provide)


def test_a_blank_name_of_a_folder_is_refused(from_source):
    for split in ("train", "val"):
        for i, name in enumerate((" ", "dog")):
            picture(f"mine/{split}/{name}/{i}.png", i)
    provide, _ = from_source("imagenet", kind="folder", directory="mine")
    with pytest.raises(PacavitError, match="mine/train: the name of class 1 of 2 is ' '"):
        sources.provide(provide)


def test_a_text_of_names_is_read_a_line_each(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\n\n".join(f"  {name} " for name in STRANGE) + "\n", encoding="utf-8-sig")
    assert read_names(file) == STRANGE


@pytest.mark.parametrize("content", [None, b"caf\xe9"])
def test_a_text_of_names_that_cannot_be_read_is_one_line(tmp_path, content):
    file = tmp_path / "names.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(
        PacavitError, match=r"names\.txt: cannot be read \(.*\); expected a class name a line"
    ):
        read_names(file)
