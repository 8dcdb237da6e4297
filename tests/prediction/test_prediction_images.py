"""Which images are found, under which names, and how they are read."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pacavit.errors import PacavitError
from pacavit.prediction.images import find, read, require_folder


@pytest.fixture
def image(tmp_path):
    """A function that writes a small image, and returns its path."""

    def write(name, **kwargs):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(path, **kwargs)
        return path

    return write


def test_folders_are_searched_and_their_images_sorted(image, tmp_path):
    for name in ("b.jpg", "a/2.PNG", "a/1.webp", "c.tiff", ".hidden.png", ".cache/x.png", "out/labels/b.png"):
        image(f"photos/{name}")
    (tmp_path / "photos/notes.txt").write_text("no image")
    single = image("single.bmp")
    found = find([single, tmp_path / "photos"], tmp_path / "photos/out")
    assert [item.path.relative_to(tmp_path).as_posix() for item in found] == [
        "single.bmp",
        "photos/a/1.webp",
        "photos/a/2.PNG",
        "photos/b.jpg",
        "photos/c.tiff",
    ]
    assert [item.number for item in found] == [1, 2, 3, 4, 5]


def test_an_image_that_is_given_twice_counts_once(image, tmp_path):
    path = image("photos/a.png")
    (tmp_path / "link.png").symlink_to(path)
    assert [item.path for item in find([path, path.parent, tmp_path / "link.png"], tmp_path / "out")] == [
        path
    ]


def test_images_of_one_stem_have_names_of_their_own(image, tmp_path):
    paths = [image(name) for name in ("a.jpg", "A.png", "b/a.jpg", "c/a-2.jpg", "labels.jpg")]
    names = [item.name for item in find(paths, tmp_path / "out")]
    assert names == ["a", "A-2", "a-3", "a-2-2", "labels"]


@pytest.mark.parametrize("given", ["photos", "photos/a.png"])
@pytest.mark.parametrize("target", ["photos", "photos/../photos"])
def test_no_picture_takes_the_place_of_an_image(image, tmp_path, given, target):
    image("photos/a.png")
    with pytest.raises(
        PacavitError, match="is where the pictures are written to; choose another folder as --to"
    ):
        find([tmp_path / given], tmp_path / target)


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(PacavitError, match=rf"{tmp_path}: no images in it; expected files that Pillow"):
        find([tmp_path], tmp_path / "out")


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".jp2", ".j2k", ".tga", ".pcx", ".avif", ".JPG", ".dat", ""]
)
def test_an_image_in_a_folder_is_found_whatever_its_suffix(image, tmp_path, suffix):
    path = image("photos/a.jpg" if suffix in (".dat", "") else f"photos/a{suffix}")
    path = path.rename(tmp_path / f"photos/a{suffix}")
    assert [item.path for item in find([tmp_path / "photos"], tmp_path / "out")] == [path]


def test_what_is_left_out_is_counted_and_named(image, tmp_path, capsys):
    image("photos/a.jpg")
    for name in ("notes.txt", "list.csv", ".hidden.png"):
        (tmp_path / "photos" / name).write_text("no image")
    find([tmp_path / "photos"], tmp_path / "out")
    said = capsys.readouterr().out
    assert "2 left out, no images: " in said
    assert "notes.txt" in said
    assert "1 left out, hidden or of the system: " in said


def test_an_image_of_a_kind_that_cannot_be_opened_is_named(image, tmp_path):
    image("photos/a.jpg")
    (tmp_path / "photos/b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(PacavitError, match=r"b\.heic: not readable as an image"):
        find([tmp_path / "photos"], tmp_path / "out")


def test_images_of_linked_folders_are_found(image, tmp_path):
    path = image("elsewhere/a.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(path.parent)
    assert [item.path for item in find([tmp_path / "photos"], tmp_path / "out")] == [
        tmp_path / "photos/linked/a.jpg"
    ]


def test_a_prepared_data_set_may_be_linked(image, project):
    path = image("data/mini/coco/val2017/a.jpg")
    (project / "photos").mkdir()
    (project / "photos/linked").symlink_to(path.parent)
    assert len(find([project / "photos"], project / "out")) == 1


@pytest.mark.parametrize("name", ["strip.png", "strip.dat"])
@pytest.mark.parametrize("size", [(400, 1), (1, 400), (1, 1), (20_000, 10)])
def test_an_image_too_narrow_to_be_resized_is_named(tmp_path, name, size):
    Image.new("RGB", size).save(tmp_path / name, format="PNG")
    with pytest.raises(PacavitError, match=rf"{name}: .*too narrow to be resized"):
        find([tmp_path / name], tmp_path / "out")


@pytest.mark.parametrize(
    "stem", ["x" * 251, "ä" * 125, "😀" * 62, "-rf", ".hidden", "a b", "$x$", "new\nline", "predictions"]
)
def test_any_name_gives_a_name_of_what_is_written(image, tmp_path, stem):
    path = image(f"{stem}.png")
    (found,) = find([path], tmp_path / "out")
    assert len(found.name.encode()) <= 200
    assert stem.startswith(found.name)
    (tmp_path / f".{found.name}.12345678.tmp.png.tmp").touch()  # as while it is being written


def test_long_names_that_begin_alike_stay_apart(image, tmp_path):
    image(f"{'x' * 240}1.png")
    image(f"{'x' * 240}2.png")
    first, second = find([tmp_path], tmp_path / "out")
    assert second.name == f"{first.name}-2"


def test_a_name_that_is_no_unicode_is_written_as_such(image, tmp_path):
    path = image("a.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    (found,) = find([path], tmp_path / "out")
    assert found.name.encode() == "caf\ufffd".encode()


def test_names_are_compared_as_disks_do(image, tmp_path):
    paths = [image(f"{i}/{name}.png") for i, name in enumerate(("caf\u00e9", "cafe\u0301", "CAF\u00c9"))]
    assert [item.name for item in find(paths, tmp_path / "out")] == ["café", "cafe\u0301-2", "CAFÉ-3"]


def test_a_path_that_is_too_long_is_named(tmp_path):
    with pytest.raises(PacavitError, match=r"cannot be read \(File name too long\)"):
        find([tmp_path / ("x" * 300)], tmp_path / "out")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("README.md", "README.md: is a file; give a folder as --to"),
        ("README.md/x", "README.md: is a file; give a folder as --to"),
        ("README.md/x/y", "README.md: is a file; give a folder as --to"),
        ("nowhere", "nowhere: is a link that leads nowhere"),
        ("nowhere/x", "nowhere: is a link that leads nowhere"),
        ("x" * 300, r"x+: cannot be written \(File name too long\)"),
        ("linked/x", None),
        ("new/folder", None),
        (".", None),
    ],
)
def test_the_folder_to_write_to_can_be_made(tmp_path, monkeypatch, target, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "there").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "there")
    if message is None:
        require_folder(Path(target))
    else:
        with pytest.raises(PacavitError, match=f"^{message}"):
            require_folder(Path(target))


def test_a_folder_without_the_right_to_write_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PacavitError, match=f"{tmp_path}: may not be written to"):
        require_folder(tmp_path / "x")


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(PacavitError, match=r"none\.jpg: no such file or folder"):
        find([tmp_path / "none.jpg"], tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "no image"), (b"text", "no image"), (None, "[Tt]runcated")]
)
def test_what_is_no_image_is_named(image, tmp_path, content, reason):
    path = image("photos/broken.jpg")
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(PacavitError, match=rf"broken\.jpg: not readable as an image \(.*{reason}"):
        find([tmp_path / "photos"], tmp_path / "out")


def test_an_image_is_read_as_when_a_folder_is_packed(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((6, 8), 30000, np.uint16)).save(path)
    assert np.unique(read(path)).tolist() == [30000 >> 8]


def test_a_turned_photograph_is_read_upright(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(image("turned.jpg", exif=exif.tobytes())).size == (6, 8)


def test_a_file_that_cannot_be_read_is_named(image):
    path = image("a.png")
    path.unlink()
    path.mkdir()
    with pytest.raises(PacavitError, match=r"a\.png: cannot be read \(Is a directory\)"):
        read(path)
