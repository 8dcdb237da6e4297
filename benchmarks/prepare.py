"""Preparing archives of ImageNet's layout: images a second, memory, kills, and what DVC makes of the result.

    python benchmarks/prepare.py [--classes 1000] [--images 4000] [--kills 10] [--json OUT]

Archives are written with photos of about ImageNet's size; every figure is of one run on one machine, so compare ratios.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from pacavit.data.archives import add_to_tar, new_tar
from pacavit.data.devkit import write_devkit
from pacavit.files import sha256

ROOT = Path(__file__).resolve().parents[1]


def photo(number: int) -> bytes:
    """Return a JPEG of 500 × 375, about 100 kB: a crop of a photo with noise, as no two are alike."""
    rng = np.random.default_rng(number)
    source = load_sample_images().images[number % 2]
    top, left = rng.integers(0, source.shape[0] - 375), rng.integers(0, source.shape[1] - 500)
    crop = source[top : top + 375, left : left + 500] + rng.normal(0, 8, (375, 500, 3))
    file = io.BytesIO()
    Image.fromarray(crop.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_archives(folder: Path, classes: int, images: int) -> None:
    """Write the three archives, from a few hundred photos in turn."""
    photos = [photo(number) for number in range(256)]
    folder.mkdir(parents=True)
    synsets = [f"n{number:08d}" for number in range(1, classes + 1)]
    with new_tar(folder / "ILSVRC2012_img_train.tar") as outer:
        for number, synset in enumerate(synsets):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for image in range(number, images, classes):
                    add_to_tar(archive, f"{synset}_{image}.JPEG", photos[image % 256])
            add_to_tar(outer, f"{synset}.tar", inner.getvalue())
    with new_tar(folder / "ILSVRC2012_img_val.tar") as archive:
        for image in range(classes):
            add_to_tar(archive, f"ILSVRC2012_val_{image + 1:08d}.JPEG", photos[image % 256])
    numbers = {number: (synset, synset) for number, synset in enumerate(synsets, start=1)}
    write_devkit(folder / "ILSVRC2012_devkit_t12.tar.gz", numbers, list(numbers))


def project(folder: Path, archives: Path, megabytes: int) -> Path:
    """Return a project whose miniature starts from given archives."""
    shutil.copytree(ROOT / "params", folder / "params")
    page = folder / "params" / "mini" / "data.yaml"
    text = page.read_text()
    start, end = text.index("    kind: digits"), text.index("  prepare:")
    own = f"    kind: own\n    verify: nothing\n    directory: {archives}\n"
    page.write_text(
        text[:start] + own + text[end:].replace("shard_megabytes: 4", f"shard_megabytes: {megabytes}")
    )
    run(folder, "archives")
    return folder


def command(step: str) -> list[str]:
    return [sys.executable, "-m", "pacavit", step, "imagenet"]


def environment(workers: int) -> dict[str, str]:
    return {**os.environ, "PACAVIT_WORKERS": str(workers), "PACAVIT_TRACKING": "off", "OMP_NUM_THREADS": "1"}


def run(folder: Path, step: str, workers: int = 2) -> tuple[float, float]:
    """Run a stage; return its seconds and the peak memory of its largest process, in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(command(step), cwd=folder, env=environment(workers), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{step} failed in {folder}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def prepared(folder: Path) -> Path:
    return folder / "data" / "mini" / "imagenet"


def speed(folder: Path, images: int) -> dict[str, float]:
    """Return images a second with one and two processes, in turn, and the peak memory with two."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    memory = 0.0
    for _ in range(2):
        for workers in (1, 2):
            shutil.rmtree(prepared(folder), ignore_errors=True)
            took, peak = run(folder, "prepare", workers)
            seconds[workers].append(took)
            memory = max(memory, peak)
    one, two = (images / min(seconds[workers]) for workers in (1, 2))
    return {"images_per_s_1": one, "images_per_s_2": two, "per_core_ratio": two / 2 / one, "peak_mib": memory}


def kills(folder: Path, count: int, seconds: float) -> dict[str, int]:
    """Kill the preparation at random moments, finish it, and compare with what was there."""
    undisturbed = hashes(prepared(folder))
    same = 0
    for _ in range(count):
        shutil.rmtree(prepared(folder))
        process = subprocess.Popen(
            command("prepare"),
            cwd=folder,
            env=environment(2),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0.3, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        run(folder, "prepare")
        same += hashes(prepared(folder)) == undisturbed
    return {"killed": count, "byte_identical": same}


def dvc_add(folder: Path) -> dict[str, float]:
    """Return the seconds of `dvc add` for the shards and for the same images as files."""
    seconds = {}
    for form in ("shards", "folder"):
        page = folder / "params" / "mini" / "data.yaml"
        page.write_text(page.read_text().replace("form: shards", f"form: {form}"))
        run(folder, "prepare")
        copy = folder / form
        shutil.copytree(prepared(folder), copy / "data")
        for line in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            subprocess.run(line, cwd=copy, check=True, capture_output=True)
        start = time.perf_counter()
        subprocess.run(["dvc", "add", "-q", "data"], cwd=copy, check=True, capture_output=True)
        seconds[form] = time.perf_counter() - start
    return {"dvc_add_shards_s": seconds["shards"], "dvc_add_files_s": seconds["folder"]}


@click.command()
@click.option("--classes", default=1000, show_default=True)
@click.option(
    "--images", default=4000, show_default=True, help="Training images; validation has one a class."
)
@click.option("--kills", "count", default=10, show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to write the figures to.")
def main(classes: int, images: int, count: int, target: Path | None) -> None:
    """Measure, and print a table."""
    figures: dict[str, float] = {"classes": classes, "images": images + classes}
    with tempfile.TemporaryDirectory() as name:
        for factor in (1, 4):
            archives = Path(name) / f"archives{factor}"
            write_archives(archives, classes, factor * images)
            folder = project(Path(name) / f"project{factor}", archives, megabytes=16)
            if factor == 4:
                figures["peak_mib_4x_images"] = run(folder, "prepare")[1]
                break
            figures |= speed(folder, images + classes)
            figures |= kills(folder, count, (images + classes) / figures["images_per_s_2"])
            figures |= dvc_add(folder)
    for key, value in figures.items():
        click.echo(f"{key:20} {value:10.4g}")
    if target is not None:
        target.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
