"""Image files of every kind are read in one way, or refused by name."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from pacavit.data import pictures

#: Red, green and blue (2, 3, 3).
PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 9, 9], [99, 99, 99], [200, 200, 200]]], np.uint8
)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(value: int, form: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(Image.fromarray(PIXELS), form, exif=exif)


def decoded(content: bytes, **options) -> np.ndarray:
    image = pictures.decode(content, "photo", **options)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    {
        0: PIXELS,
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.swapaxes(0, 1),
        6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS, 2).swapaxes(0, 1),
        8: np.rot90(PIXELS),
        9: PIXELS,
    }.items(),
)
def test_a_photograph_is_turned_as_its_exif_data_say(form, orientation, upright):
    assert (decoded(turned(orientation, form)) == upright).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_it_stays_as_it_is_stored_if_asked_for(form):
    assert decoded(turned(6, form), upright=False).shape == (2, 3, 3)
    assert decoded(turned(6, form)).shape == (3, 2, 3)


def test_damaged_exif_data_are_ignored():
    content = encoded(Image.fromarray(PIXELS), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff")
    assert decoded(content).shape == PIXELS.shape
    assert pictures.pack(content, "photo").content == content


DEEP = np.array([[0, 257, 25700], [32768, 40000, 65535]], np.uint16)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_become_eight(form):
    grey = decoded(encoded(Image.fromarray(DEEP), form))
    assert (grey == (DEEP >> 8)[..., None]).all()


def test_sixteen_bits_of_colour_become_eight_as_well():
    deep = np.repeat(DEEP[..., None], 3, axis=2)
    _, content = cv2.imencode(".png", deep)
    assert (decoded(content.tobytes()) == deep >> 8).all()


def test_floats_from_0_to_1_become_bytes():
    values = np.array([[0, 0.25, 0.5], [0.75, 0.999, 1]], np.float32)
    found = decoded(encoded(Image.fromarray(values), "TIFF"))
    assert (found == (values * 255).round()[..., None]).all()


@pytest.mark.parametrize("value", [-0.5, 1.5, 255, np.nan, np.inf])
def test_other_floats_have_no_right_way(value):
    content = encoded(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF")
    with pytest.raises(pictures.PictureError, match=r"mine/a\.tif: has floats from .* 0 is to be black"):
        pictures.decode(content, "mine/a.tif")


def test_whole_numbers_of_32_bits_have_no_right_way():
    content = encoded(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF")
    with pytest.raises(pictures.PictureError, match=r"mine/a\.tif: has whole numbers of 32 bits"):
        pictures.decode(content, "mine/a.tif")


def test_what_is_transparent_is_laid_over_white():
    alpha = np.array([[255, 0, 255], [255, 255, 0]], np.uint8)
    image = Image.fromarray(np.dstack([PIXELS, alpha]))
    expected = np.where(alpha[..., None] == 0, 255, PIXELS)
    for form in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        assert (decoded(encoded(image, form, **options)) == expected).all()
    grey = image.convert("LA")
    assert decoded(encoded(grey))[alpha == 0].min() == 255
    palette = Image.new("P", (3, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decoded(encoded(palette, transparency=0)).min() == 255
    assert decoded(encoded(palette, "GIF", transparency=0)).min() == 255


def test_other_colours_palettes_and_bits_become_rgb():
    image = Image.fromarray(PIXELS)
    assert (decoded(encoded(image.convert("CMYK"), "TIFF")) == PIXELS).all()
    assert (decoded(encoded(image.quantize(6))) == PIXELS).all()
    assert decoded(encoded(Image.new("LAB", (3, 2), (255, 128, 128)), "TIFF")).min() > 250
    assert set(decoded(encoded(image.convert("1"))).ravel()) == {0, 255}


@pytest.mark.parametrize("content", [b"", b"no image", encoded(Image.new("RGB", (64, 64)), "JPEG")[:-200]])
def test_what_cannot_be_decoded_is_named(content):
    with pytest.raises(
        pictures.PictureError, match=r"dog/Thumbs\.db: not readable as an image \(.+\); replace"
    ):
        pictures.decode(content, "dog/Thumbs.db")


COMMON = {
    "JPEG": encoded(Image.fromarray(PIXELS), "JPEG"),
    "grey JPEG": encoded(Image.fromarray(PIXELS).convert("L"), "JPEG"),
    "JPEG of orientation 1": turned(1, "JPEG"),
    "JPEG of orientation 0": turned(0, "JPEG"),
    "JPEG with a preview": encoded(
        Image.fromarray(PIXELS), "MPO", save_all=True, append_images=[Image.new("RGB", (2, 2))]
    ),
    "PNG": encoded(Image.fromarray(PIXELS)),
    "PNG with a palette": encoded(Image.fromarray(PIXELS).quantize(6)),
    "WebP": encoded(Image.fromarray(PIXELS), "WEBP", lossless=True),
}
ODD = {
    "turned upright": turned(6, "JPEG"),
    "more than 8 bits a channel": encoded(Image.fromarray(DEEP)),
    "floats": encoded(Image.fromarray(np.full((2, 3), 0.5, np.float32)), "TIFF"),
    "transparency": encoded(Image.fromarray(PIXELS).convert("RGBA")),
    "CMYK": encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"),
    "first of several frames": encoded(
        Image.fromarray(PIXELS), save_all=True, append_images=[Image.new("RGB", (3, 2))]
    ),
    "TGA": encoded(Image.fromarray(PIXELS), "TGA"),
    "PCX": encoded(Image.fromarray(PIXELS), "PCX"),
    "TIFF": encoded(Image.fromarray(PIXELS), "TIFF"),
    "BMP": encoded(Image.fromarray(PIXELS), "BMP"),
}


@pytest.mark.parametrize("content", COMMON.values(), ids=COMMON)
def test_what_all_readers_read_alike_is_packed_as_it_is(content):
    packed = pictures.pack(content, "photo")
    assert (packed.content, packed.size, packed.changes) == (content, (3, 2), ())


@pytest.mark.parametrize(("change", "content"), ODD.items(), ids=ODD)
def test_what_they_do_not_is_packed_as_it_is_decoded(change, content):
    packed = pictures.pack(content, "photo")
    assert packed.changes == (change,)
    assert (decoded(packed.content) == decoded(content)).all()
    assert packed.size == decoded(content).shape[1::-1]


@pytest.mark.parametrize("content", [*COMMON.values(), *ODD.values()], ids=[*COMMON, *ODD])
def test_pillow_and_opencv_read_a_packed_image_alike(content):
    packed = pictures.pack(content, "photo").content
    pillow = np.asarray(Image.open(io.BytesIO(packed)).convert("RGB"))
    opencv = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (pillow == decoded(content)).all()
    assert np.abs(pillow.astype(int) - opencv).max() <= 1
