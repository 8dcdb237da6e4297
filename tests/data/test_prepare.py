"""Preparation: the same bytes however many processes share it and however often it is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES, hashes
from PIL import Image

from jobs import describe, with_data
from pacavit import params, paths
from pacavit.data import imagenet, sources, tasks
from pacavit.data.archives import add_to_tar
from pacavit.data.devkit import write_devkit
from pacavit.errors import PacavitError
from pacavit.files import MANIFEST, resumable_directory
from pacavit.job import Job
from pacavit.pipeline import targets


def with_prepare(job: Job, **values) -> Job:
    """Return the job with other values under its data set's `prepare`."""
    dataset = job.stage.removeprefix("prepare_")
    given = params.load("mini")
    return describe(
        job.stage,
        with_data(given, dataset, "prepare", {**getattr(given.data, dataset).prepare.model_dump(), **values}),
    )


@pytest.mark.slow
@pytest.mark.parametrize("dataset", MODULES)
def test_the_number_of_processes_changes_nothing(prepared, make_job, monkeypatch, dataset):
    alone = hashes(prepared(dataset))
    monkeypatch.setenv(tasks.WORKERS, "2")
    monkeypatch.setattr(imagenet, "_MEGABYTE", 4096)
    assert len(hashes(prepared(dataset))) >= len(alone)
    several = hashes(prepared(dataset))
    monkeypatch.setenv(tasks.WORKERS, "1")
    assert hashes(prepared(dataset)) == several


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(tasks.WORKERS, "many")
    with pytest.raises(PacavitError, match="PACAVIT_WORKERS=many: expected a number of processes"):
        tasks.processes()


def test_images_are_the_same_in_shards_and_in_a_folder(prepared, make_job):
    root = prepared("imagenet")
    shards = {split: imagenet.ImageNetShards(root, split) for split in ("train", "val")}
    contents = {split: [s.content(i) for i in range(len(s))] for split, s in shards.items()}
    labels = {split: s.labels.tolist() for split, s in shards.items()}
    imagenet.prepare(with_prepare(make_job("prepare_imagenet"), form="folder"))
    assert not list(root.glob("*.tar"))
    assert len(list(root.glob("val/n0000000?/*.JPEG"))) == 12
    for split in ("train", "val"):
        loose = imagenet.ImageNetShards(root, split)
        assert [loose.content(i) for i in range(len(loose))] == contents[split]
        assert loose.labels.tolist() == labels[split]


@pytest.mark.parametrize("dataset", MODULES)
def test_a_part_of_the_data_is_not_taken_for_the_whole(prepared, make_job, dataset):
    folder = prepared(dataset)
    assert json.loads((folder / "manifest.json").read_text())["official"] is False
    with pytest.raises(
        PacavitError,
        match=rf"40 train images, not .*{dataset}\.prepare\.complete: false in params/mini/data\.yaml",
    ):
        MODULES[dataset].prepare(with_prepare(make_job(f"prepare_{dataset}"), complete=True))


def spoil_train(path: Path, spoilt: set[str]) -> None:
    """Cut some training images short, in place."""
    for tar in imagenet.scan_tar(path):
        for member in imagenet.scan_tar(path, tar.offset, tar.size):
            if Path(member.name).name in spoilt:
                with open(path, "r+b") as file:
                    file.seek(member.offset + 20)
                    file.write(bytes(member.size - 20))


def test_all_broken_images_are_named(prepared, make_job):
    folder = prepared("imagenet")
    before = hashes(folder)
    job = make_job("prepare_imagenet")
    images = imagenet.ImageNetShards(folder, "train")
    names = [images.name(i) for i in range(30)]
    spoil_train(job.inputs["train"], {Path(name).name for name in names})
    message = r"prepare imagenet train: 30 broken images in the archive; .*, and 10 more, all in"
    with pytest.raises(PacavitError, match=message) as caught:
        imagenet.prepare(job)
    assert names[0] in str(caught.value)
    assert [line.split(" (")[0] for line in (job.work / "broken.txt").read_text().splitlines()] == names
    assert hashes(folder) == before


def test_what_an_attempt_left_is_taken_up_and_of_other_inputs_removed(tmp_path):
    target = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        with resumable_directory(target, "one") as folder:
            (folder / "part").write_text("done")
            raise KeyboardInterrupt
    assert not target.exists()
    with resumable_directory(target, "one") as folder:
        assert (folder / "part").read_text() == "done"
        (folder / MANIFEST).touch()
    with pytest.raises(KeyboardInterrupt):
        with resumable_directory(target, "two") as folder:
            assert not list(folder.iterdir())
            raise KeyboardInterrupt
    with resumable_directory(target, "three"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


class Part:
    """Writes one file, and counts how often."""

    images, kind = 1, "images"

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.calls = name, fails, 0

    def __call__(self, folder: Path) -> tasks.Record:
        self.calls += 1
        if self.fails:
            raise KeyboardInterrupt
        (folder / self.name).write_text(self.name)
        return tasks.Record(files={self.name: "hash"}, sizes={self.name: len(self.name)}, images=1)


def test_label_maps_are_counted_beside_their_images(prepared, capsys):
    prepared("ade20k", train_images=40, val_images=12)
    told = capsys.readouterr().out
    assert "prepare ade20k train: 40 images and 40 label maps in " in told
    assert "prepare ade20k val: 12 images and 12 label maps in " in told


def test_a_part_is_done_once_unless_its_file_was_lost(tmp_path, capsys):
    parts = [Part("first"), Part("second"), Part("third", fails=True)]
    with pytest.raises(KeyboardInterrupt):
        tasks.run(tmp_path, parts, "test", tmp_path)
    (tmp_path / "second").write_text("cut")
    parts[2].fails = False
    records = tasks.run(tmp_path, parts, "test", tmp_path)
    assert [part.calls for part in parts] == [1, 2, 2]
    assert [list(record.files) for record in records] == [["first"], ["second"], ["third"]]
    assert "1 of 3 images are ready from an earlier attempt" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "null"])
def test_a_part_whose_record_is_damaged_is_done_again(tmp_path, content):
    parts = [Part("first"), Part("second", fails=True)]
    with pytest.raises(KeyboardInterrupt):
        tasks.run(tmp_path, parts, "test", tmp_path)
    (record,) = tmp_path.glob("**/first.json")
    record.write_text(content)
    parts[1].fails = False
    tasks.run(tmp_path, parts, "test", tmp_path)
    assert [part.calls for part in parts] == [2, 2]


def jpeg(number: int, **options) -> bytes:
    file = io.BytesIO()
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8))
    image.convert(options.pop("mode", "RGB")).save(file, options.pop("form", "JPEG"), **options)
    return file.getvalue()


def test_a_validation_image_has_the_label_of_its_number_wherever_it_stands(tmp_path):
    with tarfile.open(tmp_path / "val.tar", "w") as archive:
        for number in (2, 3, 1):
            add_to_tar(archive, f"ILSVRC2012_val_{number:08d}.JPEG", b"any")
    found = imagenet.list_val(tmp_path / "val.tar", ["a", "b"], ["a", "b", "b"])
    assert found.labels.tolist() == [1, 1, 0]


def test_imagenets_known_oddities_are_images_like_others(make_job):
    """A PNG and a CMYK picture under a JPEG's name, and one with Exif data that end too early."""
    job = make_job("prepare_imagenet")
    odd = [
        jpeg(0, form="PNG"),
        jpeg(1, mode="CMYK"),
        jpeg(2, exif=b"Exif\0\0II*\0\x08\0\0\0\xff"),
        jpeg(3, mode="L"),
    ]
    for output in job.inputs.values():
        output.parent.mkdir(parents=True, exist_ok=True)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for number, content in enumerate(odd):
            add_to_tar(archive, f"n02105855_{number}.JPEG", content)
    with tarfile.open(job.inputs["train"], "w") as archive:
        add_to_tar(archive, "n02105855.tar", inner.getvalue())
    with tarfile.open(job.inputs["val"], "w") as archive:
        add_to_tar(archive, "ILSVRC2012_val_00000001.JPEG", odd[1])
    write_devkit(job.inputs["devkit"], {7: ("n02105855", "Shetland sheepdog")}, [7])
    imagenet.prepare(job)
    images = imagenet.ImageNetShards(job.outputs["data"], "train")
    assert [images[i][0].mode for i in range(4)] == ["RGB"] * 4
    assert [images.content(i) for i in range(4)] == odd


@pytest.mark.slow
@pytest.mark.parametrize("dataset", MODULES)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(make_job, prepared, project, monkeypatch, dataset):
    monkeypatch.setattr(imagenet, "_MEGABYTE", 4096)
    sources.provide(make_job(f"archives_{dataset}", train_images=200, val_images=40))
    page = paths.path(paths.PARAMS, scale="mini", page="data")
    page.write_text(page.read_text().replace("shard_megabytes: 4", "shard_megabytes: 1"))
    environment = {**os.environ, tasks.WORKERS: "2"}
    command = [sys.executable, "-m", "pacavit", "prepare", dataset]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    folder = targets.path(f"prepare_{dataset}.data", "mini")
    undisturbed = hashes(folder)
    rng = np.random.default_rng(0)
    folder.rename(project / "undisturbed")
    for _ in range(3):
        started = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.3, 2.0))
        started.send_signal(signal.SIGKILL)
        started.wait()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert hashes(folder) == undisturbed
    assert [path.name for path in folder.parent.iterdir() if "partial" in path.name] == []
