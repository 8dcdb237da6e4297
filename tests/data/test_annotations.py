"""Annotations of one's own: each object is taken, mended, dropped with a count, or refused by image and id."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from pacavit.data import sources
from pacavit.data.annotations import run_lengths
from pacavit.data.classes import Classes
from pacavit.errors import PacavitError
from pacavit.files import sha256

WIDTH, HEIGHT = 64, 48
#: A rectangle, its outline and its run lengths.
BOX = [20, 10, 30, 16]
OUTLINE = [20, 10, 50, 10, 50, 26, 20, 26]
MASK = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
MASK[10:26, 20:50] = 1
TEXT = rle.encode(MASK)["counts"].decode()
LENGTHS = run_lengths(TEXT)

LEFT_OUT = object()


def item(number: int = 1, image: int = 9, category: int = 3, **changes) -> dict:
    whole = {
        **{"id": number, "image_id": image, "category_id": category},
        **{"bbox": BOX, "area": 480.0, "iscrowd": 0, "segmentation": [OUTLINE]},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not LEFT_OUT}


def content(*items: dict, **changes) -> dict:
    return {
        "images": [{"id": i, "file_name": f"{i} ö.png", "width": WIDTH, "height": HEIGHT} for i in (9, 4)],
        "annotations": list(items) or [item()],
        "categories": [{"id": 3, "name": "tri"}, {"id": 1, "name": "square"}],
    } | changes


class Own:
    """A data set of one's own, of which the tests write the training annotations."""

    def __init__(self, from_source):
        where = {}
        for split in ("train", "val"):
            folder = Path("mine") / split
            folder.mkdir(parents=True)
            for number in (9, 4):
                pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number} ö.png")
            where[split] = {"images": str(folder), "annotations": f"mine/{split}.json"}
        self.write("val", content())
        self.provide, self.prepare = from_source("coco", kind="folder", **where)

    def write(self, split: str, value) -> None:
        Path(f"mine/{split}.json").write_text(json.dumps(value), encoding="utf-8")

    def pack(self, value=None) -> list[dict]:
        """Provide and prepare the data set, and return the prepared training annotations."""
        if value is not None:
            self.write("train", value)
        sources.provide(self.provide)
        MODULES["coco"].prepare(self.prepare)
        return json.loads(self.prepared("train").read_text())["annotations"]

    def prepared(self, split: str) -> Path:
        return self.prepare.outputs["data"] / f"annotations/instances_{split}2017.json"


@pytest.fixture
def own(from_source):
    return Own(from_source)


@pytest.mark.parametrize(
    ("changes", "mended"),
    [
        ({"area": LEFT_OUT}, "area computed from the mask"),
        ({"area": None}, "area computed from the mask"),
        ({"area": 0}, "area computed from the mask"),
        ({"area": -480}, "area computed from the mask"),
        ({"area": float("nan")}, "area computed from the mask"),
        ({"area": "480"}, "area computed from the mask"),
        ({"area": 10**400}, "area computed from the mask"),
        ({"iscrowd": LEFT_OUT}, "iscrowd set to 0"),
        ({"iscrowd": None}, "iscrowd set to 0"),
        ({"iscrowd": "0"}, "number in text read"),
        ({"category_id": "3"}, "number in text read"),
        ({"bbox": LEFT_OUT}, "box computed from the mask"),
        ({"bbox": []}, "box computed from the mask"),
        ({"bbox": [0, 0, 0, 0]}, "box computed from the mask"),
        ({"bbox": [20, 10, 0, 16]}, "box computed from the mask"),
        ({"segmentation": OUTLINE}, "flat polygon wrapped"),
        ({"segmentation": [OUTLINE, [1, 1, 9, 9]]}, "part of a mask with fewer than three points left out"),
        ({"segmentation": [OUTLINE, []]}, "part of a mask with fewer than three points left out"),
    ],
)
def test_what_follows_from_the_mask_or_is_written_otherwise_is_mended(own, capsys, changes, mended):
    (found,) = own.pack(content(item(**changes)))
    assert found == item()
    assert f"coco train: mended: {mended}, 1 times" in capsys.readouterr().out


@pytest.mark.parametrize("ids", [(0, 1), (5, 5), (LEFT_OUT, 2), (None, 2), ("a", "b"), (-1, 3), (1.5, 2)])
def test_ids_that_are_none_of_their_own_are_renumbered(own, capsys, ids):
    """pycocotools takes an annotation with id 0 for none, which gave perfect detections an AP of 0.72."""
    found = own.pack(content(*(item(number, image) for number, image in zip(ids, (9, 4), strict=True))))
    assert [(one["id"], one["image_id"]) for one in found] == [(1, 9), (2, 4)]
    assert "mended: annotation id renumbered, 2 times" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes", [{"ignore": 0}, {"ignore": False}, {"ignore": None}, {"iscrowd": False}, {"score": 1}]
)
def test_what_says_nothing_changes_nothing(own, capsys, changes):
    assert own.pack(content(item(**changes))) == [item()]
    assert "mended" not in capsys.readouterr().out


def test_distinct_ids_stay(own):
    assert [one["id"] for one in own.pack(content(item(70), item(8)))] == [70, 8]


def test_what_lies_outside_is_clipped(own, capsys):
    shifted = [number + (40 if i % 2 == 0 else 0) for i, number in enumerate(OUTLINE)]
    (found,) = own.pack(content(item(bbox=[60, 10, 30, 16], segmentation=[shifted], area=LEFT_OUT)))
    assert found["bbox"] == [60, 10, 4, 16]
    assert found["area"] == 4 * 16
    assert np.reshape(found["segmentation"], (-1, 2)).max(axis=0).tolist() == [WIDTH, 26]
    out = capsys.readouterr().out
    assert "mended: box clipped to the image, 1 times" in out
    assert "mended: polygon clipped to the image, 1 times" in out


def test_a_corner_far_outside_bends_no_edge(own):
    """A triangle whose tip lies outside: within the image its sides stay where they were."""
    triangle = [[10, 10, 1010, 20, 10, 30]]
    (found,) = own.pack(content(item(bbox=[10, 10, 1000, 20], segmentation=triangle, area=None)))
    whole = rle.frPyObjects(triangle, HEIGHT, 1100)
    expected = rle.decode(whole)[:, :WIDTH, 0].sum()
    assert found["area"] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"bbox": [70, 50, 30, 16], "segmentation": [[70, 50, 100, 50, 100, 66, 70, 66]]},
            "outside the image",
        ),
        (
            {"bbox": [-9, 0, 5, 5], "segmentation": [[-9, 0, -4, 0, -4, 5, -9, 5]]},
            "outside the image",
        ),
        (
            {"bbox": [20, 10, 0.5, 9], "segmentation": [[20, 10, 20.5, 10, 20.5, 19, 20, 19]]},
            "smaller than one pixel",
        ),
        (
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}, "bbox": None},
            "with a mask that covers no pixel",
        ),
        ({"ignore": 1}, "marked to be ignored"),
    ],
)
def test_what_cannot_be_learnt_is_dropped_by_name(own, capsys, changes, reason):
    found = own.pack(content(item(1), item(2, **changes)))
    assert [one["id"] for one in found] == [1]
    line = f"coco train: dropped: 1 objects {reason}: annotation 2 (image 9, 9 ö.png)"
    assert line in capsys.readouterr().out


NUMBER = "annotation 2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": LEFT_OUT}, NUMBER + " has no segmentation, .*add masks"),
        ({"segmentation": []}, NUMBER + " has no segmentation"),
        ({"segmentation": [[]]}, NUMBER + " has no segmentation"),
        ({"segmentation": [20, 10, 50, 26]}, NUMBER + " has a polygon of fewer than three points"),
        ({"segmentation": [[20, 10, 50, 26]]}, NUMBER + " has a polygon of fewer than three points"),
        ({"segmentation": [OUTLINE[:-1]]}, NUMBER + " has a polygon with an odd number of coordinates"),
        ({"segmentation": [[*OUTLINE[:-1], float("nan")]]}, NUMBER + r": segmentation\.0\.7: .*finite"),
        ({"segmentation": [[*OUTLINE[:-1], "26"]]}, NUMBER + r": segmentation\.0\.7: .*valid number"),
        ({"segmentation": [[*OUTLINE[:-1], 1e9]]}, NUMBER + r": segmentation\.0\.7: .*less than"),
        ({"segmentation": "abc"}, NUMBER + ": segmentation: .*valid list"),
        (
            {"segmentation": {"size": [WIDTH, HEIGHT], "counts": LENGTHS}},
            NUMBER + " has run lengths of height 64",
        ),
        (
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": LENGTHS[:-1]}},
            NUMBER + " has run lengths of .* in all",
        ),
        (
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [-5, 3077]}},
            NUMBER + " has a run of -5 pixels",
        ),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": TEXT[:-1]}}, NUMBER + " has run lengths"),
        (
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "é"}},
            NUMBER + " has run lengths that cannot be read",
        ),
        ({"segmentation": {"counts": LENGTHS}}, NUMBER + r": segmentation\.size: field required"),
        ({"bbox": [20, 10, 30]}, NUMBER + ": bbox: .*at least 4 items.*not 3"),
        ({"bbox": [20, 10, 30, 16, 0]}, NUMBER + ": bbox: .*at most 4 items.*not 5"),
        ({"bbox": [20, 10, 30, float("nan")]}, NUMBER + r": bbox\.3: .*finite"),
        ({"bbox": [20, 10, float("inf"), 16]}, NUMBER + r": bbox\.2: "),
        ({"bbox": [50, 26, -30, -16]}, NUMBER + " has a box of width -30 and height -16"),
        ({"bbox": [20, 10, 50, 26]}, NUMBER + " .*the box has left, top, right and bottom"),
        (
            {"bbox": [20 / 64, 10 / 48, 30 / 64, 16 / 48]},
            NUMBER + " .*the box has shares of the image's size",
        ),
        (
            {"bbox": [2, 30, 10, 9]},
            NUMBER + r" .*the box is \[2, 30, 10, 9\], .* would be \[20, 10, 30, 16\]",
        ),
        (
            {"bbox": [0.1, 0.1, 0.5, 0.5], "segmentation": [[0.1, 0.1, 0.6, 0.1, 0.6, 0.6]]},
            NUMBER + " has coordinates from 0 to 1; expected pixels",
        ),
        (
            {"bbox": LEFT_OUT, "segmentation": [[0.1, 0.1, 0.6, 0.1, 0.6, 0.6]]},
            NUMBER + " has coordinates from 0 to 1; expected pixels",
        ),
        ({"iscrowd": 2}, NUMBER + ": iscrowd: .*0 or 1"),
        ({"iscrowd": "no"}, NUMBER + ": iscrowd: expected a whole number, not 'no'"),
        ({"category_id": 7}, NUMBER + " is of an unknown category, 7"),
        ({"category_id": LEFT_OUT}, NUMBER + ": category_id: field required"),
        ({"image_id": LEFT_OUT}, "annotation 2: image_id: field required"),
        ({"image_id": 5}, r"annotation 2 is of an unknown image \(image 5\)"),
        ({"image_id": True}, "annotation 2: image_id: expected a whole number"),
    ],
)
def test_what_cannot_be_mended_is_refused_by_image_and_id(own, changes, message):
    with pytest.raises(PacavitError, match=r"^mine/train\.json: " + message) as caught:
        own.pack(content(item(1), item(2, **changes)))
    assert "\n" not in str(caught.value)
    if "image_id" not in changes:
        assert "(image 9, 9 ö.png)" in str(caught.value)
    assert not any(output.exists() for output in own.provide.outputs.values())


def test_all_that_is_refused_is_told_at_once(own):
    wrong = [item(number, bbox=[1, 2, 3]) for number in range(1, 14)]
    with pytest.raises(
        PacavitError, match=r"annotation 1: .*; annotation 10: .*; and 3 more; mend or remove"
    ):
        own.pack(content(*wrong))
    with pytest.raises(PacavitError, match=r"annotation in place 2 is a number"):
        own.pack(content(item(), 7))


def test_boxes_as_corners_are_told_from_sloppy_ones(own):
    """Near the left upper corner both readings overlap; the masks of all objects tell."""
    near, corners = [2, 2, 12, 2, 12, 10, 2, 10], [2, 2, 12, 10]
    one = item(1, bbox=corners, segmentation=[near])
    with pytest.raises(PacavitError, match=r"annotation 1 .* fits its mask as left, top, right and bottom"):
        own.pack(content(one))
    assert len(own.pack(content(one, item(2), item(3)))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iscrowd": 1}, r"only crowds \(iscrowd: 1\) are left"),
        (
            {"bbox": [70, 50, 30, 16], "segmentation": [[70, 50, 100, 50, 100, 66, 70, 66]]},
            r"no object is left, .*\(1 outside the image\)",
        ),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_objects_to_learn_is_refused(own, split, changes, message):
    own.write("train", content())
    own.write(split, content(item(**changes)))
    with pytest.raises(PacavitError, match=rf"mine/{split}\.json: {message}"):
        own.pack()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": []}, "no annotations in it"),
        ({"categories": []}, "no categories in it"),
        (
            {"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]},
            r"category id 3 stands 2 times \(a, b\)",
        ),
        ({"categories": [{"id": 3}]}, "category 3: name: field required"),
        ({"categories": [{"name": "a"}]}, "category in place 1: id: field required"),
        (
            {"categories": [{"id": 3, "name": " "}]},
            "the name of class 1 of 1 is ' '; expected a name with visible characters",
        ),
        ({"categories": ["a"]}, "category in place 1: .*"),
        (
            {"images": [{"id": 9, "file_name": "9 ö.png"}, {"id": 9, "file_name": "4 ö.png"}]},
            r"image id 9 stands 2 times \(9 ö\.png, 4 ö\.png\)",
        ),
        (
            {"images": [{"id": 9, "file_name": "9 ö.png"}, {"id": 4, "file_name": "9 ö.png"}]},
            r"image 9 ö\.png stands 2 times \(ids 9, 4\)",
        ),
        (
            {"images": [{"id": 9, "file_name": "9 ö.png"}, {"id": 4, "file_name": "../train/./9 ö.png"}]},
            r"mine/train/9 ö\.png stands 2 times \(ids 9, 4\)",
        ),
        ({"images": [{"id": 9}]}, "image 9: file_name: field required"),
        ({"images": [{"file_name": "9 ö.png"}]}, "image in place 1: id: field required"),
        ({"images": [{"id": "nine", "file_name": "9 ö.png"}]}, "image nine: id: expected a whole number"),
    ],
)
def test_images_and_categories_need_an_id_and_a_name_of_their_own(own, changes, message):
    with pytest.raises(PacavitError, match=r"^mine/train\.json: " + message):
        own.pack(content(**changes))


def test_sizes_are_read_from_the_images(own, capsys):
    images = [{"id": 9, "file_name": "9 ö.png"}, {"id": 4, "file_name": "4 ö.png", "width": WIDTH}]
    own.pack(content(images=images))
    written = json.loads(own.prepared("train").read_text())["images"]
    assert [(image["width"], image["height"]) for image in written] == [(WIDTH, HEIGHT)] * 2
    assert "width and height of an image read from its file, 2 times" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((HEIGHT, WIDTH), r"64 × 48, but 48 × 64 as image 9 of mine/train\.json: mend width and height"),
        ((640, 480), r"64 × 48, but 640 × 480 as image 9"),
    ],
)
def test_annotations_for_another_size_are_refused(own, size, message):
    images = [{"id": 9, "file_name": "9 ö.png", "width": size[0], "height": size[1]}]
    with pytest.raises(PacavitError, match=rf"mine/train/9 ö\.png: .*{message}"):
        own.pack(content(images=images))


def test_a_turned_photograph_has_the_size_that_people_see(own):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH), "red").save("mine/train/9.jpg", exif=exif)
    image = {"id": 9, "file_name": "9.jpg", "width": WIDTH, "height": HEIGHT}
    assert len(own.pack(content(images=[image]))) == 1
    with pytest.raises(PacavitError, match=r"its annotations are for the image as stored; save it upright"):
        own.pack(content(images=[{**image, "width": HEIGHT, "height": WIDTH}]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(own, encoding):
    text = json.dumps(content(), ensure_ascii=False)
    Path("mine/train.json").write_text(text, encoding=encoding)
    assert own.pack() == [item()]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            json.dumps(content(), ensure_ascii=False).encode("latin-1"),
            r"not text in UTF-8 \(byte \d+ is b'\\xf6'\)",
        ),
        (b'{"images": [', r"not JSON \(Expecting value"),
        (b"", "empty"),
        (b"[1]", r"not COCO's JSON \(a list\)"),
        (
            json.dumps(content(annotations=3)).encode(),
            r"not COCO's JSON \(annotations is a number, not a list\)",
        ),
        (json.dumps(content(images=None)).encode(), r"not COCO's JSON \(no images\)"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_unreadable_json_is_named(own, written, message):
    Path("mine/train.json").write_bytes(written)
    with pytest.raises(PacavitError, match=rf"^mine/train\.json is {message}") as caught:
        own.pack()
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_the_json_is_named(own):
    Path("mine/train.json").mkdir()
    with pytest.raises(PacavitError, match=r"mine/train\.json: cannot be read \(Is a directory\)"):
        own.pack()


def test_the_order_of_the_categories_means_nothing(own):
    reversed_ = content()
    reversed_["categories"] = reversed_["categories"][::-1]
    own.pack(reversed_)
    classes = Classes.of(own.prepare.outputs["data"])
    assert (classes.ids, classes.names) == ([1, 3], ["square", "tri"])


def test_categories_that_differ_are_named(own):
    other = [{"id": 3, "name": "circle"}, {"id": 1, "name": "square"}]
    with pytest.raises(
        PacavitError, match=r"mine/val\.json: category 3 is 'tri', and 'circle' in mine/train\.json"
    ):
        own.pack(content(categories=other))


def test_a_summary_tells_images_and_objects_of_each_class(own, capsys):
    own.pack(content(item(1), item(2, iscrowd=1), item(3, category=1)))
    line = "coco train: 2 images, 1 of them without objects; 3 objects, 1 of them crowds; square: 1, tri: 2"
    assert line in capsys.readouterr().out


def test_a_name_does_not_break_a_line_of_the_log(own, capsys):
    named = content(categories=[{"id": 3, "name": "tri\u2028angle"}, {"id": 1, "name": "square"}])
    own.write("val", named)
    own.pack(named)
    assert "objects, 0 of them crowds; square: 0, tri\\u2028angle: 1\n" in capsys.readouterr().out


def test_images_that_are_too_small_to_train_on_are_named(own, capsys):
    images = content()["images"] + [{"id": 5, "file_name": "small.png"}]
    Image.new("RGB", (31, 90)).save("mine/train/small.png")
    own.pack(content(images=images))
    line = "coco train: 1 images have a side under 32 pixels, and are not trained on: mine/train/small.png"
    assert line in capsys.readouterr().out
    inside = item(image=5, bbox=[1, 1, 9, 9], segmentation=[[1, 1, 10, 1, 10, 10, 1, 10]])
    with pytest.raises(
        PacavitError, match=r"all images with objects have a side under 32 pixels.*small\.png"
    ):
        own.pack(content(inside, images=images))


def test_run_lengths_are_masks_too(own):
    for counts in (LENGTHS, TEXT):
        (found,) = own.pack(
            content(item(segmentation={"size": [HEIGHT, WIDTH], "counts": counts}, area=None))
        )
        truth = COCO(str(own.prepared("train")))
        assert (truth.annToMask(truth.anns[1]) == MASK).all()
        assert (found["area"], found["bbox"]) == (MASK.sum(), BOX)


class Archives:
    """Archives in the official layout, whose annotations the tests change."""

    def __init__(self, own):
        own.pack(content())
        self.prepare = own.prepare
        self.path = own.provide.outputs["annotations"]

    def write(self, written: bytes) -> None:
        with zipfile.ZipFile(self.path) as archive:
            val = archive.read("annotations/instances_val2017.json")
        with zipfile.ZipFile(self.path, "w") as archive:
            archive.writestr("annotations/instances_train2017.json", written)
            archive.writestr("annotations/instances_val2017.json", val)

    def packed(self, *items: dict, **changes) -> bytes:
        """The bytes of annotations, the images of which have their names in the archive."""
        value = content(*items, **changes)
        for place, image in enumerate(value["images"], start=1):
            image["file_name"] = f"{place:012d}.jpg"
        return json.dumps(value).encode()


@pytest.fixture
def archives(own):
    return Archives(own)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([item(0)], "annotation 0: id: .*greater than or equal to 1"),
        ([item(2), item(2)], "annotation 2 has the id of another annotation"),
        ([item(LEFT_OUT)], "annotation in place 1: id: field required"),
        ([item(area=LEFT_OUT)], "annotation 1: area: field required"),
        ([item(area=None)], "annotation 1: area: .*valid number"),
        ([item(iscrowd="0")], "annotation 1: iscrowd: .*0 or 1"),
        ([item(iscrowd=None)], "annotation 1: iscrowd: .*0 or 1"),
        ([item(bbox=[1, 2, 3])], "annotation 1: bbox: .*at least 4 items"),
        ([item(bbox=[1, 2, 3, float("nan")])], "annotation 1: bbox.3: .*finite"),
        ([item(segmentation=OUTLINE)], "annotation 1: segmentation.0: .*valid list"),
        ([item(segmentation=[[]])], "annotation 1 has a polygon of fewer than three points"),
        ([item(segmentation=[])], "annotation 1 has a polygon of fewer than three points"),
        ([item(segmentation=[[1, 1, 9, 9]])], "annotation 1 has a polygon of fewer than three points"),
        (
            [item(segmentation={"size": [WIDTH, HEIGHT], "counts": LENGTHS})],
            "annotation 1 has run lengths of height 64",
        ),
        ([item(image=5)], "annotation 1 is of an unknown image"),
        ([item(category=7)], "annotation 1 is of an unknown category, 7"),
        ([item(iscrowd=1)], "no object that can be learnt"),
        ([item(area=0)], "no object that can be learnt"),
        ([item(bbox=[0.1, 0.1, 0.5, 0.5])], "no object that can be learnt"),
        ([item(bbox=[70, 50, 9, 9])], "no object that can be learnt"),
    ],
)
def test_archives_of_ones_own_hold_what_the_training_needs(archives, items, message):
    archives.write(archives.packed(*items))
    with pytest.raises(PacavitError, match=rf"instances_train2017\.json: {message}") as caught:
        MODULES["coco"].prepare(archives.prepare)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]}, "category id 3 stands 2 times"),
        ({"categories": [{"id": 3}]}, "category 3: name: field required"),
        ({"categories": [{"id": 3, "name": "tri"}]}, "categories are not those of the training images"),
        ({"images": [{"id": 9}, {"id": 4}]}, r"0{11}1\.jpg is \(64, 48\), not None"),
    ],
)
def test_archives_of_ones_own_name_images_and_categories(archives, changes, message):
    archives.write(archives.packed(**changes))
    with pytest.raises(PacavitError, match=message):
        MODULES["coco"].prepare(archives.prepare)


def test_a_byte_order_mark_in_an_archive_is_no_fault(archives):
    archives.write(b"\xef\xbb\xbf" + archives.packed())
    MODULES["coco"].prepare(archives.prepare)
    path = archives.prepare.outputs["data"] / "annotations/instances_train2017.json"
    assert len(COCO(str(path)).anns) == 1
    files = json.loads((archives.prepare.outputs["data"] / "manifest.json").read_text())["files"]
    assert files["annotations/instances_train2017.json"] == sha256(path)


def test_objects_that_the_training_leaves_out_are_counted(archives, capsys):
    archives.write(archives.packed(item(1), item(2, bbox=[20, 10, 0, 16])))
    MODULES["coco"].prepare(archives.prepare)
    assert "1 objects have no size or lie outside, and are not trained on" in capsys.readouterr().out
