"""Folders of images, a class each, become a classification data set; nothing in them is lost without a word."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from few_pictures import hashes, picture
from PIL import Image

from pacavit.data import imagenet, sources
from pacavit.data.archives import user_files
from pacavit.data.manifest import read_manifest
from pacavit.data.pictures import decode
from pacavit.errors import PacavitError


@pytest.fixture
def provide(from_source):
    """A function that packs the folder `mine`."""

    def create(**source) -> None:
        sources.provide(from_source("imagenet", kind="folder", directory="mine", **source)[0])

    return create


@pytest.fixture
def images(from_source):
    """A function that packs and prepares the folder `mine`, and returns the images of a split."""

    def create(split: str = "train", **source) -> imagenet.ImageNetShards:
        provide, prepare = from_source("imagenet", kind="folder", directory="mine", **source)
        sources.provide(provide)
        imagenet.prepare(prepare)
        return imagenet.ImageNetShards(prepare.outputs["data"], split)

    return create


def classes(*names: str, count: int = 2) -> None:
    """Write a folder `mine` with splits and classes, each of a few images."""
    for number, split in enumerate(("train", "val")):
        for name in names:
            for i in range(count):
                picture(f"mine/{split}/{name}/{i}.png", 100 * number + 10 * len(name) + i)


def test_a_folder_of_images_becomes_a_classification_data_set(from_source):
    names = ["a b", "Größe", "quote's"]
    for split, count in (("train", 3), ("val", 2)):
        for number, name in enumerate(names):
            for i in range(count):
                form = ("png", "jpg", "webp")[i % 3]
                picture(Path("mine") / split / name / f"{i}.{form}", 10 * number + i)
    provide, prepare = from_source("imagenet", kind="folder", directory="mine")
    sources.provide(provide)
    archives = hashes(provide.outputs["train"].parent)
    sources.provide(provide)
    assert hashes(provide.outputs["train"].parent) == archives
    imagenet.prepare(prepare)
    train = imagenet.ImageNetShards(prepare.outputs["data"], "train")
    assert sorted(train.classes) == sorted(names)
    files = [path for name in sorted(names) for path in sorted(Path("mine/train", name).iterdir())]
    assert [train.content(i) for i in range(len(train))] == [path.read_bytes() for path in files]
    assert [train.classes[label] for label in train.labels] == [path.parent.name for path in files]
    packed = [Path(train.name(i)).name for i in range(len(train))]
    known = user_files(provide.outputs["devkit"], packed)
    assert [known[name] for name in packed] == [str(path) for path in files]


def test_a_folder_without_val_is_split_by_a_seed(images):
    for name in ("one", "two"):
        for i in range(10):
            picture(f"mine/{name}/{i}.png", i)
    found = {}
    for seed in (0, 0, 1):
        val = images("val", val_fraction=0.2, seed=seed)
        assert val.labels.tolist() == [0, 0, 1, 1]
        content = {val.content(i) for i in range(4)}
        assert found.setdefault(seed, content) == content
    assert found[0] != found[1]


def test_an_unpacked_imagenet_keeps_its_synsets(images):
    classes("n01440764", "n02105855", count=1)
    train = images()
    assert [train.name(i).split("/")[0] for i in range(2)] == ["n01440764", "n02105855"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"mine/train: no such folder; expected a folder of images a class"),
        (["train/a/1.png", "val/a/1.png"], r"mine/train: 1 class folders; expected .* two or more"),
        (
            ["train/a/1.png", "train/b/1.png", "train/d/1.png", "val/a/1.png", "val/c/1.png"],
            r"not in val: b, d; not in train: c; add images of these classes",
        ),
        (["train/a/1.png", "train/b/.hidden", "val/a/1.png"], r"mine/train/b: no images; add some"),
        (["train/a/1.png", "train/b/notes.txt", "val/a/1.png"], r"mine/train/b: no images; add some"),
    ],
)
def test_a_folder_that_is_no_data_set_is_explained(from_source, files, message):
    for i, name in enumerate(files):
        path = Path("mine") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(path, i) if path.suffix == ".png" else path.touch()
    provide, _ = from_source("imagenet", kind="folder", directory="mine")
    with pytest.raises(PacavitError, match=message):
        sources.provide(provide)
    assert not any(output.exists() for output in provide.outputs.values())


@pytest.mark.parametrize("splits", [("train", "val"), ("Train", "Test"), ("training", "validation", "test")])
def test_splits_are_not_taken_for_classes(provide, splits):
    for split in splits:
        for name in ("cat", "dog"):
            picture(f"mine/{split}/{name}/0.png")
    with pytest.raises(
        PacavitError, match=r"mine: .* are splits, not classes; name them train and val, without"
    ):
        provide(val_fraction=0.2)


def test_a_class_may_be_called_train(images):
    for name in ("bus", "train"):
        for i in range(4):
            picture(f"mine/{name}/{i}.png", i)
    assert images(val_fraction=0.25).classes == ["bus", "train"]


@pytest.mark.parametrize("name", [".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir"])
def test_folders_of_systems_are_no_classes_and_are_named(images, capsys, name):
    classes("cat", "dog")
    picture(f"mine/train/{name}/0.png")
    picture(f"mine/val/dog/{name}/0.png")
    assert images().classes == ["cat", "dog"]
    printed = capsys.readouterr().out
    assert f"1 left out, hidden or of the system: mine/train/{name}" in printed
    assert f"mine/val/dog/{name}" in printed


def test_files_that_are_no_images_are_left_out_and_named(images, capsys):
    classes("cat", "dog")
    Path("mine/train/dog/Thumbs.db").write_bytes(b"thumbs")
    Path("mine/train/dog/notes.txt").touch()
    Path("mine/train/README").write_text("about")
    picture("mine/test/cat/0.png")
    assert len(images()) == 4
    printed = capsys.readouterr().out
    assert "mine/train: 2 left out, no images: mine/train/dog/Thumbs.db, mine/train/dog/notes.txt" in printed
    assert "mine: 1 left out, neither train nor val: mine/test" in printed
    assert "mine/train: 1 left out, beside the class folders: mine/train/README" in printed


def test_an_image_needs_no_ending(images):
    classes("cat", "dog")
    Path("mine/train/cat/0.png").rename("mine/train/cat/photo of 2024.10")
    assert len(images()) == 4


@pytest.mark.parametrize("name", ["broken.jpg", "photo.HEIC"])
def test_what_is_called_an_image_and_is_none_is_refused(provide, name):
    classes("cat", "dog")
    Path("mine/train/dog", name).write_bytes(b"no image")
    with pytest.raises(
        PacavitError, match=rf"^mine/train/dog/{name}: not readable as an image .*; replace it"
    ):
        provide()


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3000, 10)])
def test_an_image_that_is_too_narrow_to_be_resized_is_refused(provide, size):
    classes("cat", "dog")
    Image.new("RGB", size).save("mine/val/dog/strip.png")
    with pytest.raises(
        PacavitError, match=rf"^mine/val/dog/strip\.png: has {size[0]} × {size[1]} pixels, too narrow"
    ):
        provide()


def test_small_images_are_images(images):
    classes("cat", "dog")
    Image.new("RGB", (5, 3)).save("mine/train/dog/small.png")
    assert len(images()) == 5


def test_all_broken_images_are_named(provide):
    classes("cat", "dog")
    for i in range(30):
        Path(f"mine/train/dog/broken {i:02d}.jpg").touch()
    with pytest.raises(PacavitError, match=r"30 files cannot be read .*broken 00\.jpg.*and 10 more"):
        provide()


def test_linked_folders_and_files_count(images):
    classes("cat", "dog")
    for i in range(3):
        picture(f"elsewhere/deep/{i}.png", 50 + i)
    picture("one.png", 60)
    Path("mine/train/cat/more").symlink_to(Path("elsewhere").absolute())
    Path("mine/train/cat/one.png").symlink_to("../../../one.png")
    Path("mine/train/whale").symlink_to(Path("elsewhere").absolute())
    Path("mine/val/whale").symlink_to(Path("elsewhere").absolute())
    train = images()
    assert np.bincount(train.labels).tolist() == [2 + 3 + 1, 2, 3]


def test_links_that_lead_nowhere_or_around_are_refused(provide):
    classes("cat", "dog")
    for target, message in (
        ("nowhere", r"mine/train/cat/link: is a link that leads nowhere"),
        *(
            (above, r"mine/train/cat/link: is a link to a folder that holds it")
            for above in (".", "..", "../..")
        ),
        ("link", r"mine/train/cat/link: is a link that leads nowhere"),
    ):
        os.symlink(target, "mine/train/cat/link")
        with pytest.raises(PacavitError, match=message):
            provide()
        os.unlink("mine/train/cat/link")


def test_a_link_into_a_prepared_data_set_is_refused(provide):
    classes("cat", "dog")
    Path("mine/train/cat").rename("cats")
    Path("data/mini/imagenet").mkdir(parents=True)
    Path("cats").rename("data/mini/imagenet/cats")
    Path("mine/train/cat").symlink_to(Path("data/mini/imagenet/cats").absolute())
    with pytest.raises(PacavitError, match=r"mine/train/cat is inside data/mini/imagenet, which"):
        provide()


@pytest.mark.parametrize(
    ("method", "name"), [("iterdir", "mine/train/cat"), ("read_bytes", "mine/train/cat/0.png")]
)
def test_what_cannot_be_read_is_named(provide, monkeypatch, method, name):
    classes("cat", "dog")
    real = getattr(Path, method)

    def refusing(path: Path):
        if path == Path(name):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real(path)

    monkeypatch.setattr(Path, method, refusing)
    with pytest.raises(PacavitError, match=rf"^{name}: cannot be read \(Permission denied\)"):
        provide()


def test_a_class_that_is_not_named_in_utf_8_is_refused(provide):
    classes("cat", "dog")
    os.rename(b"mine/train/dog", b"mine/train/caf\xe9")
    with pytest.raises(
        PacavitError, match=r"mine/train/caf\\udce9: the name is not UTF-8; rename the folder"
    ):
        provide()


def test_a_file_may_be_named_in_any_encoding(images, capsys):
    classes("cat", "dog")
    os.rename(b"mine/train/dog/0.png", b"mine/train/dog/caf\xe9.png")
    Path(os.fsdecode(b"mine/train/dog/\xe9.txt")).touch()
    assert len(images()) == 4
    assert r"no images: mine/train/dog/\udce9.txt" in capsys.readouterr().out


def turned(path: str, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(path, 7, exif=exif)


def test_images_are_packed_as_predict_reads_them(images, capsys):
    classes("cat", "dog", count=1)
    odd = [
        turned("mine/train/cat/turned.jpg", 6),
        turned("mine/train/cat/upright.jpg", 0),
        picture("mine/train/cat/alpha.png", 1, "RGBA"),
        picture("mine/train/cat/palette.gif", 1, "P"),
        picture("mine/train/cat/print.jpg", 1, "CMYK"),
        *(picture(f"mine/train/cat/other.{form}", 1) for form in ("tga", "pcx", "bmp", "tiff")),
    ]
    deep = np.linspace(0, 65535, 48 * 36).reshape(36, 48).astype(np.uint16)
    Image.fromarray(deep).save("mine/train/cat/deep.png")
    Image.fromarray((deep / 65535).astype(np.float32)).save("mine/train/cat/float.tiff")
    odd += [Path("mine/train/cat/deep.png"), Path("mine/train/cat/float.tiff")]
    train = images()
    files = sorted(Path("mine/train/cat").iterdir()) + sorted(Path("mine/train/dog").iterdir())
    for i, path in enumerate(files):
        expected = np.asarray(decode(path.read_bytes(), path))
        assert (np.asarray(train[i][0]) == expected).all(), path
        plain = Image.open(io.BytesIO(train.content(i))).convert("RGB")
        assert (np.asarray(plain) == expected).all(), path
    assert train.content(files.index(odd[1])) == odd[1].read_bytes()
    printed = capsys.readouterr().out
    assert (
        "mine/train: stored as PNG, in RGB of 8 bits: 1 BMP, 1 CMYK, 1 GIF, 1 PCX, 1 TGA, 1 TIFF" in printed
    )
    assert "1 turned upright" in printed


def test_images_of_the_validation_that_are_trained_on_are_counted_by_content(from_source, capsys):
    classes("cat", "dog")
    for i in range(2):
        Path(f"mine/val/cat/{i}.png").write_bytes(Path(f"mine/train/dog/{i}.png").read_bytes())
    provide, prepare = from_source("imagenet", kind="folder", directory="mine")
    sources.provide(provide)
    imagenet.prepare(prepare)
    assert read_manifest(prepare.outputs["data"])["shared"] == 2
    printed = capsys.readouterr().out
    assert "2 of 4 validation images are training images as well" in printed
    assert "mine/val/cat/0.png = mine/train/dog/0.png" in printed
