"""Which images are found, under which names, and how they are read."""

import numpy as np
import pytest
from PIL import Image

from pacavit.errors import PacavitError
from pacavit.prediction.images import find, read


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
    with pytest.raises(PacavitError, match=rf"{tmp_path}: no images in it; expected files that end in \.bmp"):
        find([tmp_path], tmp_path / "out")


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
