"""``params/<scale>/data.yaml``: the archives a scale starts from, and how they are prepared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pacavit.params.base import Count, Page, Seed

Directory = Annotated[str, Field(min_length=1)]


class DigitArchives(Page):
    """Archives in the official layout, made from scikit-learn's handwritten digits."""

    kind: Literal["digits"]
    seed: Seed = Field(description="the same seed gives the same bytes")
    train_images: Annotated[int, Field(ge=20)] = Field(description="training pictures, over all classes")
    val_images: Annotated[int, Field(ge=10)] = Field(
        description="validation pictures, from other source digits"
    )


class OwnArchives(Page):
    """The official archives, fetched by the user."""

    kind: Literal["own"]
    directory: Directory = Field(description="folder that holds them")
    verify: Literal["nothing", "size", "hash"] = Field(
        description="what is compared with the official files; hash reads them whole"
    )


class DownloadedArchives(Page):
    """The official archives, fetched from their addresses."""

    kind: Literal["download"]
    directory: Directory = Field(description="folder to keep them in")
    mirror: Annotated[str, Field(pattern=r"^https?://[^/@\s]+(/[^@\s]*)?$")] | None = Field(
        default=None,
        description="address of a folder that has the same files; name and password belong into ~/.netrc",
    )


class Folder(Page):
    """The user's own images."""

    kind: Literal["folder"]
    compare: Literal["times", "hash"] = Field(
        default="times",
        description="a changed file is known by its size and time, or by its content, which reads every file once",
    )


class ImageFolder(Folder):
    """The user's own images to classify, a folder a class: below ``train`` and ``val``, or to be split."""

    directory: Directory = Field(description="train/CLASS/* and val/CLASS/*; or CLASS/* with val_fraction")
    val_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="share of each class that validates, where there is no val"
    )
    seed: Seed = Field(default=0, description="of that split")


class AnnotatedFolder(Page):
    """Images and their annotations in COCO's JSON."""

    images: Directory
    annotations: Annotated[str, Field(min_length=1)]


class CocoFolder(Folder):
    """The user's own images to detect in."""

    train: AnnotatedFolder
    val: AnnotatedFolder


class LabelledFolder(Page):
    """Images, and label maps of the same names, in folders of their own: PNG with a number a pixel."""

    images: Directory
    labels: Directory


class Ade20kFolder(Folder):
    """The user's own images to segment."""

    train: LabelledFolder
    val: LabelledFolder
    # A map has one byte a pixel, and mmsegmentation takes two of its values for no label.
    classes: Annotated[
        list[Annotated[str, Field(pattern=r"^[^\t\n]+$")]], Field(min_length=1, max_length=254)
    ]
    first_class: Annotated[int, Field(ge=0, le=255)] = Field(
        default=1, description="label of the first class; the others follow in the order of the names"
    )
    ignored: list[Annotated[int, Field(ge=0, lt=2**16)]] | None = Field(
        default=None,
        description="labels of pixels that do not count; 0 if it is no class and nothing is said here",
    )

    @property
    def no_label(self) -> frozenset[int]:
        """The labels of pixels that do not count."""
        if self.ignored is not None:
            return frozenset(self.ignored)
        # Beside a single class, 0 is what does not belong to it.
        return frozenset({0}) if self.first_class > 0 and len(self.classes) > 1 else frozenset()

    @model_validator(mode="after")
    def _no_class_is_ignored(self) -> Ade20kFolder:
        both = self.no_label & set(range(self.first_class, self.first_class + len(self.classes)))
        if both:
            label = min(both)
            name = self.classes[label - self.first_class]
            raise ValueError(f"label {label} is ignored, and is {name!r} by first_class {self.first_class}")
        return self


ImageNetArchives = Annotated[
    DigitArchives | OwnArchives | DownloadedArchives | ImageFolder, Field(discriminator="kind")
]
CocoArchives = Annotated[
    DigitArchives | OwnArchives | DownloadedArchives | CocoFolder, Field(discriminator="kind")
]
Ade20kArchives = Annotated[
    DigitArchives | OwnArchives | DownloadedArchives | Ade20kFolder, Field(discriminator="kind")
]


class Preparation(Page):
    """What the preparations share."""

    complete: bool = Field(description="insist on the official numbers of images and classes")


class ImageNetPrepare(Preparation):
    """Preparation of ImageNet-1k."""

    form: Literal["shards", "folder"] = Field(description="tar files with an index, or a file an image")
    shard_megabytes: Count = Field(description="size at which a tar shard is closed and the next begun")


class ImageNetData(Page):
    """ImageNet-1k (ILSVRC2012)."""

    archives: ImageNetArchives
    prepare: ImageNetPrepare


class Extraction(Preparation):
    """Preparation of a data set that stays in files."""

    max_gigabytes: Count = Field(description="refuse an archive that unpacks to more")


class CocoData(Page):
    """COCO 2017."""

    archives: CocoArchives
    prepare: Extraction


class Ade20kData(Page):
    """ADE20K."""

    archives: Ade20kArchives
    prepare: Extraction


class Released(Page):
    """The weights that the authors published."""

    directory: Directory = Field(description="folder that holds the .pth files")


class DataPage(Page):
    """One section a data set, and the released weights."""

    imagenet: ImageNetData
    coco: CocoData
    ade20k: Ade20kData
    released: Released
