"""Images a second of the full ImageNet recipe from shards, against timm's loader on a folder of the same files."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from measuring import Figure, in_turn, ratios
from prepare import prepared, project, run, write_archives
from timm.data import create_dataset, create_loader
from torch.utils.data import DataLoader

from pacavit import params
from pacavit.data.imagenet import ImageNetShards
from pacavit.params.pretrain import Augmentation
from pacavit.training.pretrain import Transformed, create_mixup, train_transform
from pacavit.training.stream import PositionSampler, SampleStream

CLASSES, IMAGES, BATCH, BATCHES = 16, 512, 64, 4
SIZE = 224


def measure(rounds: int) -> list[Figure]:
    """Both in this process, on one core, from files that the system has in memory; mixup and cutmix included."""
    augmentation = params.load("paper").pretrain.recipe.augmentation
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_archives(folder / "archives", CLASSES, IMAGES)
            own = project(folder / "project", folder / "archives", megabytes=16)
            run(own, "prepare")
            images = ImageNetShards(prepared(own), "train")
            _write_files(images, folder / "files")
            calls = {
                "shards": _taking(_own_loader(images, augmentation), augmentation),
                "timm": _taking(_timm_loader(folder / "files", augmentation), augmentation),
            }
            times = in_turn(calls, rounds)
    finally:
        torch.set_num_threads(threads)
    rates = [BATCH * BATCHES / seconds for seconds in times["shards"]]
    return [
        Figure(
            "ImageNet recipe from shards against timm's create_loader",
            ratios(times, "shards", "timm"),
            aim=1.5,
        ),
        Figure("ImageNet recipe from shards, one core", rates, "images/s"),
    ]


def _write_files(images: ImageNetShards, folder: Path) -> None:
    for index in range(len(images)):
        path = folder / f"{images.labels[index]:02d}" / os.path.basename(images.name(index))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.content(index))


def _own_loader(images: ImageNetShards, augmentation: Augmentation) -> Iterable:
    stream = SampleStream(Transformed(images, train_transform(SIZE, augmentation)), seed=0)
    # More batches than all rounds take: an endless stream has no start to pay for.
    return DataLoader(stream, BATCH, sampler=PositionSampler(BATCH, 0, 1_000_000))


def _timm_loader(folder: Path, augmentation: Augmentation) -> Iterable:
    dataset = create_dataset("", root=str(folder))
    loader = create_loader(
        dataset,
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=True,
        use_prefetcher=False,
        num_workers=0,
        persistent_workers=False,
    )
    # What timm's options would give, without a second list of them.
    dataset.transform = train_transform(SIZE, augmentation)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def _taking(loader: Iterable, augmentation: Augmentation) -> Callable[[], None]:
    batches = iter(loader)
    mixup = create_mixup(augmentation, CLASSES)

    def call() -> None:
        for _ in range(BATCHES):
            mixup(*next(batches))

    return call
