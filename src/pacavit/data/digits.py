"""Pictures drawn from scikit-learn's 1,797 real handwritten digits (UCI, 8×8 pixels, 16 grey levels).

Every picture is a function of the seed and its number alone. Training and validation draw from disjoint
sets of source digits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

CLASSES = tuple(str(digit) for digit in range(10))
TEXTURES = ("stripes", "checks", "dots", "waves")

#: About the colour of each texture where it is a class of its own.
_COLOURS = ((150, 100, 90), (90, 140, 95), (95, 105, 160), (150, 145, 90))

#: A quarter of the source digits is kept for validation.
_VAL_SHARE = 0.25
#: Ink above this share of the darkest belongs to the digit's mask.
_INK = 0.3

# The odd kinds of JPEG among real images, by the share of pictures that get them.
_ODD_MODES = (("L", 0.05), ("CMYK", 0.02))


@dataclass
class Instance:
    """One digit of a scene, or a crowd of small ones: class index and boolean mask (H, W) of what is visible."""

    label: int
    mask: np.ndarray
    crowd: bool = False


@dataclass
class Scene:
    """A picture (H, W, 3) uint8 with its instances and its grounds.

    ``stuff`` (H, W) holds the index into :data:`TEXTURES` of the ground at each pixel, -1 where there is none.
    """

    image: np.ndarray
    stuff: np.ndarray
    instances: list[Instance] = field(default_factory=list)


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """Return the random generator of one picture."""
    return np.random.default_rng((seed, *numbers))


@cache
def source_digits(split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ink (n, 8, 8) from 0 to 1 and classes (n,) of the source digits of ``train`` or ``val``."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    val = int(len(order) * _VAL_SHARE)
    chosen = order[:val] if split == "val" else order[val:]
    return digits.images[chosen] / 16.0, digits.target[chosen]


def digit_picture(split: str, seed: int, number: int) -> tuple[np.ndarray, int]:
    """Return picture ``number`` (H, W, 3) of one digit on a textured ground, and its class."""
    inks, labels = source_digits(split, seed)
    rng = generator(seed, *_stream("picture", split), number)
    source = number % len(labels)
    height, width = (int(side) for side in rng.integers(64, 81, size=2))
    image = draw_ground(int(rng.integers(len(TEXTURES))), height, width, rng)
    size = int(rng.integers(36, 57))
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    _paint(image, _enlarged(inks[source], size), top, left, rng)
    return image, int(labels[source])


def scene(
    kind: str,
    split: str,
    seed: int,
    number: int,
    regions: int = 1,
    digits: tuple[int, int] = (1, 5),
    sides: tuple[int, int] = (26, 56),
    visible: float = 0.6,
) -> Scene:
    """Return scene ``number`` of ``split``: digits on textured grounds.

    About one in twelve has no digit, and about one in ten a crowd: a row of small digits of one class.

    Args:
        kind: ``detection`` or ``segmentation``, whose scenes differ for the same number.
        split: ``train`` or ``val``.
        seed, number: what the scene depends on.
        regions: how many grounds.
        digits: fewest and most digits; one that would hide another is left out.
        sides: smallest and largest digit, pixels.
        visible: share of each digit's ink that later ones leave; one that would leave less is not placed.
    """
    inks, labels = source_digits(split, seed)
    rng = generator(seed, *_stream(kind, split), number)
    height, width = (int(rng.choice([112, 128, 144])), 128)
    image, stuff = _grounds(height, width, regions, rng)
    result = Scene(image, stuff)
    if rng.random() < 1 / 12:
        return result
    if rng.random() < 1 / 10:
        _add_crowd(result, inks, labels, visible, rng)
    for _ in range(int(rng.integers(digits[0], digits[1] + 1))):
        source = int(rng.integers(len(labels)))
        size = int(rng.integers(sides[0], sides[1] + 1))
        top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        _add(result, [(inks[source], size, top, left)], int(labels[source]), visible, rng)
    return result


def encode(image: np.ndarray, rng: np.random.Generator, odd: bool = True) -> bytes:
    """Return a JPEG of an RGB picture; a few are greyscale or CMYK, as among real images."""
    picture = Image.fromarray(image)
    draw = rng.random()
    for mode, share in _ODD_MODES if odd else ():
        if draw < share:
            picture = picture.convert(mode)
            break
        draw -= share
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def draw_ground(
    texture: int, height: int, width: int, rng: np.random.Generator, typical: bool = False
) -> np.ndarray:
    """Return a ground (height, width, 3) uint8 of one of the :data:`TEXTURES` in two close, muted colours.

    A ``typical`` one has about the colour of its kind, as grass and sky have; else any colour.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(7, 12), rng.uniform(0, 10)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    name = TEXTURES[texture]
    if name == "stripes":
        pattern = np.sin(2 * np.pi * (u + phase) / period) > 0
    elif name == "checks":
        pattern = (np.floor((u + phase) / period) + np.floor((v + phase) / period)) % 2 > 0
    elif name == "dots":
        pattern = np.hypot((u + phase) % period - period / 2, v % period - period / 2) < 0.3 * period
    else:
        pattern = np.sin(2 * np.pi * (u + 4 * np.sin(v / 6) + phase) / (1.6 * period)) / 2 + 0.5
    base = rng.uniform(70, 185, size=3)
    if typical:
        base = np.array(_COLOURS[texture]) + rng.uniform(-25, 25, size=3)
    step = rng.choice([-1, 1]) * rng.uniform(18, 38)
    ground = base + np.asarray(pattern, dtype=np.float64)[..., None] * step
    return np.clip(ground + rng.normal(0, 5, size=(height, width, 1)), 0, 255).astype(np.uint8)


def _stream(kind: str, split: str) -> tuple[int, int]:
    return ("picture", "detection", "segmentation").index(kind), ("train", "val").index(split)


def _grounds(
    height: int, width: int, regions: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and texture map of grounds divided around random centres; a small disc belongs to none."""
    textures = rng.permutation(len(TEXTURES))[:regions]
    centres = rng.uniform(0, 1, size=(regions, 2)) * (height, width)
    y, x = np.mgrid[0:height, 0:width]
    nearest = np.argmin([np.hypot(y - cy, x - cx) for cy, cx in centres], axis=0)
    image = np.zeros((height, width, 3), np.uint8)
    for region, texture in enumerate(textures):
        image[nearest == region] = draw_ground(int(texture), height, width, rng, typical=regions > 1)[
            nearest == region
        ]
    stuff = textures[nearest]
    if regions > 1:
        cy, cx = rng.uniform(0, 1, size=2) * (height, width)
        void = np.hypot(y - cy, x - cx) < rng.uniform(8, 20)
        image[void] = rng.integers(60, 200, size=3)
        stuff = np.where(void, -1, stuff)
    return image, stuff


def _enlarged(ink: np.ndarray, size: int) -> np.ndarray:
    """Return ink (8, 8) as (size, size), smoothly, from 0 to 1."""
    small = Image.fromarray((ink * 255).round().astype(np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64) / 255


def _paint(image: np.ndarray, ink: np.ndarray, top: int, left: int, rng: np.random.Generator) -> None:
    """Draw ink over the picture in a colour far from the ground's."""
    size = len(ink)
    patch = image[top : top + size, left : left + size]
    bright = patch.mean() < 128
    colour = rng.uniform(190, 255, size=3) if bright else rng.uniform(0, 60, size=3)
    opacity = np.clip(ink * 1.4, 0, 1)[..., None]
    image[top : top + size, left : left + size] = patch * (1 - opacity) + colour * opacity


def _add(
    scene: Scene,
    parts: list[tuple[np.ndarray, int, int, int]],
    label: int,
    visible: float,
    rng: np.random.Generator,
    crowd: bool = False,
) -> None:
    """Paint digits as one instance on top of the others, unless these would leave too little of one."""
    enlarged = [(_enlarged(ink, size), top, left) for ink, size, top, left in parts]
    mask = np.zeros(scene.image.shape[:2], bool)
    for ink, top, left in enlarged:
        mask[top : top + len(ink), left : left + len(ink)] |= ink > _INK
    remaining = [other.mask & ~mask for other in scene.instances]
    if any(
        left.sum() < visible * other.mask.sum()
        for left, other in zip(remaining, scene.instances, strict=True)
    ):
        return
    for ink, top, left in enlarged:
        _paint(scene.image, ink, top, left, rng)
    for other, left in zip(scene.instances, remaining, strict=True):
        other.mask = left
    scene.instances.append(Instance(label, mask, crowd))


def _add_crowd(
    scene: Scene, inks: np.ndarray, labels: np.ndarray, visible: float, rng: np.random.Generator
) -> None:
    label = int(rng.integers(len(CLASSES)))
    sources = rng.choice(np.flatnonzero(labels == label), size=6)
    size = 16
    height, width = scene.image.shape[:2]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - 6 * 14 - 2))
    _add(
        scene,
        [(inks[s], size, top, left + 14 * i) for i, s in enumerate(sources)],
        label,
        visible,
        rng,
        crowd=True,
    )
