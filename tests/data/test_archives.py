"""Archives from outside: nothing leaves its folder, follows a link or swells, and a tar is read where it stands."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from pacavit.data.archives import (
    SOURCES,
    add_to_tar,
    list_zip,
    scan_tar,
    sources_text,
    tar_files,
    user_files,
)
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


def test_a_member_that_is_not_named_in_utf_8_is_refused(tmp_path):
    write_tar(tmp_path / "a.tar", **{"Zürich.jpg": b"x"})
    assert [member.name for member in scan_tar(tmp_path / "a.tar")] == ["Zürich.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        add_to_tar(archive, "Zürich.jpg", b"x")
    with pytest.raises(PacavitError, match=r"a\.tar: member 'Z\\udcfcrich\.jpg' is not named in UTF-8"):
        scan_tar(tmp_path / "a.tar")


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


def test_a_compression_that_python_cannot_read_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for header, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(header) + place] = 9
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(
        PacavitError, match=r"a\.jpg is compressed in a way .* \(method 9, Deflate64\); unpack it"
    ):
        list_zip(tmp_path / "a.zip", max_gigabytes=1)


def test_the_users_files_are_found_by_the_names_of_packed_ones(tmp_path):
    files = {
        f"{i}.jpg": Path(os.fsdecode(name)) for i, name in enumerate((b"a b", "Zürich".encode(), b"caf\xe9"))
    }
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(SOURCES, sources_text(files))
    write_tar(tmp_path / "a.tar", **{SOURCES: sources_text(files)})
    for name in ("a.zip", "a.tar"):
        assert user_files(tmp_path / name, ["0.jpg", "2.jpg", "3.jpg"]) == {
            "0.jpg": "a b",
            "2.jpg": os.fsdecode(b"caf\xe9"),
        }
    write_tar(tmp_path / "official.tar", a=b"x")
    assert user_files(tmp_path / "official.tar", ["0.jpg"]) == {}
