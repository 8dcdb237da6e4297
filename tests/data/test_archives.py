"""Archives from outside: nothing leaves its folder, follows a link or swells, and a tar is read where it stands."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from pacavit.data.archives import add_to_tar, list_zip, open_image, scan_tar, tar_files
from pacavit.errors import PacavitError


def write_tar(path, *members: tarfile.TarInfo, **files: bytes) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member)
        for name, content in files.items():
            add_to_tar(archive, name, content)


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/outside.jpg", "val2017/../../outside.jpg", "val2017\\outside"]
)
def test_no_member_leaves_its_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(PacavitError, match="leads out of its folder"):
        list_zip(tmp_path / "a.zip", max_gigabytes=1)
    write_tar(tmp_path / "a.tar", **{name: b"x"})
    with pytest.raises(PacavitError, match="leads out of its folder"):
        scan_tar(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        with pytest.raises(PacavitError, match="leads out of its folder"):
            list(tar_files(archive))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    write_tar(tmp_path / "a.tar", member)
    with pytest.raises(PacavitError, match="is a link or a device"):
        scan_tar(tmp_path / "a.tar")
    with (
        tarfile.open(tmp_path / "a.tar") as archive,
        pytest.raises(PacavitError, match="is a link or a device"),
    ):
        list(tar_files(archive))


def test_a_link_or_an_encrypted_member_of_a_zip_is_refused(tmp_path):
    for attribute, flag, message in ((0o120777 << 16, 0, "is a link"), (0, 1, "is encrypted")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            member = zipfile.ZipInfo("member")
            member.external_attr = attribute
            archive.writestr(member, "/etc/passwd")
        content = bytearray((tmp_path / "a.zip").read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= flag
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(PacavitError, match=message):
            list_zip(tmp_path / "a.zip", max_gigabytes=1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"x")
        archive.writestr("a.jpg", b"y")
    with pytest.raises(PacavitError, match="stands twice"):
        list_zip(tmp_path / "a.zip", max_gigabytes=1)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for content in (b"x", b"y"):
            add_to_tar(archive, "a.jpg", content)
    with pytest.raises(PacavitError, match="stands twice"):
        scan_tar(tmp_path / "a.tar")


def test_bombs_are_refused_before_anything_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(300 << 20))
    with pytest.raises(PacavitError, match="refused as a bomb"):
        list_zip(tmp_path / "a.zip", max_gigabytes=1)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        add_to_tar(archive, "zeros", bytes(65 << 20))
    with (
        tarfile.open(tmp_path / "a.tar.gz") as archive,
        pytest.raises(PacavitError, match="refused as a bomb"),
    ):
        list(tar_files(archive))


def test_the_total_of_an_archive_is_limited(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"x")
    assert list_zip(tmp_path / "a.zip", max_gigabytes=1) == ["a"]
    with pytest.raises(PacavitError, match=r"more than prepare\.max_gigabytes = 0"):
        list_zip(tmp_path / "a.zip", max_gigabytes=0)


def test_a_tar_inside_a_tar_is_read_where_it_stands(tmp_path):
    inner = io.BytesIO()
    contents = {f"{i}.jpg": bytes([i]) * (700 * i + 1) for i in range(5)}
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for name, content in contents.items():
            add_to_tar(archive, name, content)
    write_tar(tmp_path / "outer.tar", **{"first.tar": b"x" * 1000, "second.tar": inner.getvalue()})
    second = scan_tar(tmp_path / "outer.tar")[1]
    whole = (tmp_path / "outer.tar").read_bytes()
    members = scan_tar(tmp_path / "outer.tar", second.offset, second.size)
    assert {m.name: whole[m.offset : m.offset + m.size] for m in members} == contents


@pytest.mark.parametrize("kept", [100, 600, 1500, 3000])
def test_a_tar_that_is_cut_short_is_damaged(tmp_path, kept):
    write_tar(tmp_path / "a.tar", **{f"{i}.jpg": bytes(900) for i in range(4)})
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:kept])
    with pytest.raises(tarfile.TarError):
        scan_tar(tmp_path / "a.tar")


def encoded(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_odd_images_are_read_and_broken_ones_explained():
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    picture = Image.fromarray(noise)
    assert open_image(encoded(picture, "PNG")).size == (30, 20)  # whatever its name says
    assert open_image(encoded(picture.convert("CMYK"), "JPEG")).mode == "CMYK"
    assert open_image(encoded(picture, "JPEG", exif=b"Exif\0\0II*\0damaged")).size == (30, 20)
    whole = encoded(picture, "JPEG")
    assert "truncated" in open_image(whole[:-30])
    assert open_image(b"") == open_image(b"no image") == "no image that Pillow knows"
