"""``params/<scale>/data.yaml``: the archives a scale starts from, and how they are prepared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pacavit.params.base import Count, Page, Seed


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
    directory: Annotated[str, Field(min_length=1)] = Field(description="folder that holds them")


Archives = Annotated[DigitArchives | OwnArchives, Field(discriminator="kind")]


class ImageNetPrepare(Page):
    """Preparation of ImageNet-1k."""

    shard_megabytes: Count = Field(description="size at which a tar shard is closed and the next begun")


class ImageNetData(Page):
    """ImageNet-1k (ILSVRC2012)."""

    archives: Archives
    prepare: ImageNetPrepare


class Extraction(Page):
    """Preparation of a data set that stays in files."""

    max_gigabytes: Count = Field(description="refuse an archive that unpacks to more")


class FolderData(Page):
    """COCO 2017 or ADE20K."""

    archives: Archives
    prepare: Extraction


class Released(Page):
    """The weights that the authors published."""

    directory: Annotated[str, Field(min_length=1)] = Field(description="folder that holds the .pth files")


class DataPage(Page):
    """One section a data set, and the released weights."""

    imagenet: ImageNetData
    coco: FolderData
    ade20k: FolderData
    released: Released
