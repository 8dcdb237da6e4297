"""Where archives come from: the user's own, an address, or a folder of images that is packed."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES, hashes
from PIL import Image
from test_fetch import Server, running

from pacavit.data import fetch, imagenet, registry, sources
from pacavit.errors import PacavitError
from pacavit.pipeline import targets
from pacavit.pipeline.run import run
from pages import change, shorten


def picture(path: Path, number: int, mode: str = "RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (36, 48, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def test_an_archive_of_another_size_or_hash_is_refused(from_source, monkeypatch):
    Path("mine").mkdir()
    archive = Path("mine/ADEChallengeData2016.zip")
    archive.write_bytes(b"archive")
    digest = hashlib.md5(b"archive").hexdigest()
    info = registry.DATASETS["ade20k"]

    def official(size: int, md5: str) -> None:
        file = registry.ArchiveFile(archive.name, size, f"md5:{md5}")
        monkeypatch.setitem(info.files, "all", file)

    provide, _ = from_source("ade20k", kind="own", directory="mine", verify="hash")
    official(8, digest)
    with pytest.raises(PacavitError, match=r"7 bytes, but the official .* has 8; fetch it again"):
        sources.provide(provide)
    official(7, "0" * 32)
    with pytest.raises(PacavitError, match=rf"its md5 is {digest}, but that of the official .* is 000"):
        sources.provide(provide)
    official(7, digest)
    sources.provide(provide)
    assert provide.outputs["all"].read_bytes() == b"archive"


def test_imagenet_cannot_be_downloaded_and_says_where_it_is(from_source):
    provide, _ = from_source("imagenet", kind="download", directory="kept")
    with pytest.raises(
        PacavitError,
        match=r"asks for an account; sign up at https://image-net.*put ILSVRC2012_img_train.tar.*kind: own",
    ):
        sources.provide(provide)


def test_archives_are_fetched_once_from_a_mirror(from_source, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with running(Server()) as server:
        digest = "md5:" + hashlib.md5(server.content).hexdigest()
        file = registry.ArchiveFile("ADEChallengeData2016.zip", None, digest)
        monkeypatch.setitem(registry.DATASETS["ade20k"].files, "all", file)
        mirror = server.url.rpartition("/")[0]
        provide, _ = from_source("ade20k", kind="download", directory="kept", mirror=mirror)
        sources.provide(provide)
        sources.provide(provide)
        assert server.asked == [0]
    assert provide.outputs["all"].read_bytes() == server.content


def test_a_folder_of_images_becomes_a_classification_data_set(from_source):
    names = ["a b", "Größe", "quote's"]
    for split, count in (("train", 3), ("val", 2)):
        for number, name in enumerate(names):
            for i in range(count):
                form = ("png", "jpg", "bmp")[i % 3]
                picture(Path("mine") / split / name / f"{i}.{form}", 10 * number + i)
    provide, prepare = from_source("imagenet", kind="folder", directory="mine")
    sources.provide(provide)
    archives = hashes(provide.outputs["train"].parent)
    sources.provide(provide)
    assert hashes(provide.outputs["train"].parent) == archives
    imagenet.prepare(prepare)
    train = imagenet.ImageNetShards(prepare.outputs["data"], "train")
    assert sorted(train.classes) == sorted(names)
    files = [path for name in sorted(names) for path in sorted(Path("mine/train", name).iterdir())]
    assert [train.content(i) for i in range(len(train))] == [path.read_bytes() for path in files]
    assert [train.classes[label] for label in train.labels] == [path.parent.name for path in files]


def test_a_folder_without_val_is_split_by_a_seed(from_source):
    for name in ("one", "two"):
        for i in range(10):
            picture(Path("mine") / name / f"{i}.png", i)
    found = {}
    for seed in (0, 0, 1):
        provide, prepare = from_source(
            "imagenet", kind="folder", directory="mine", val_fraction=0.2, seed=seed
        )
        sources.provide(provide)
        imagenet.prepare(prepare)
        val = imagenet.ImageNetShards(prepare.outputs["data"], "val")
        assert val.labels.tolist() == [0, 0, 1, 1]
        content = {val.content(i) for i in range(4)}
        assert found.setdefault(seed, content) == content
    assert found[0] != found[1]


def test_an_unpacked_imagenet_keeps_its_synsets(from_source):
    for split in ("train", "val"):
        for i, synset in enumerate(("n01440764", "n02105855")):
            picture(Path("mine") / split / synset / "a.JPEG", i)
    provide, prepare = from_source("imagenet", kind="folder", directory="mine")
    sources.provide(provide)
    imagenet.prepare(prepare)
    train = imagenet.ImageNetShards(prepare.outputs["data"], "train")
    assert [train.name(i).split("/")[0] for i in range(2)] == ["n01440764", "n02105855"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"mine/train: no such folder; expected a folder of images a class"),
        (["train/a/1.png", "val/a/1.png"], r"mine/train: 1 class folders; expected .* two or more"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"],
            r"class 'b' is not in val; add images",
        ),
        (["train/a/1.png", "train/b/.hidden", "val/a/1.png"], r"mine/train/b: no images; add some"),
    ],
)
def test_a_folder_that_is_no_data_set_is_explained(from_source, files, message):
    for i, name in enumerate(files):
        path = Path("mine") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(path, i) if path.suffix else path.touch()
    provide, _ = from_source("imagenet", kind="folder", directory="mine")
    with pytest.raises(PacavitError, match=message):
        sources.provide(provide)
    assert not any(output.exists() for output in provide.outputs.values())


def coco_folder(**changes) -> dict[str, dict[str, str]]:
    """Write two splits of one image with one object, and return where they are."""
    where = {}
    for split in ("train", "val"):
        picture(Path("mine") / split / "sub" / "dög 1.png", 1)
        content = {
            "images": [{"id": 9, "file_name": "sub/dög 1.png", "width": 48, "height": 36}],
            "annotations": [
                {
                    **{"id": 1, "image_id": 9, "category_id": 0, "bbox": [2, 2, 10, 8]},
                    "segmentation": [[2, 2, 12, 2, 12, 10, 2, 10]],
                }
            ],
            "categories": [{"id": 0, "name": "dog"}],
        } | changes
        path = Path("mine") / f"{split}.json"
        path.write_text(json.dumps(content))
        where[split] = {"images": f"mine/{split}", "annotations": str(path)}
    return where


def test_any_coco_json_becomes_a_detection_data_set(from_source):
    from pycocotools.coco import COCO

    provide, prepare = from_source("coco", kind="folder", **coco_folder())
    sources.provide(provide)
    MODULES["coco"].prepare(prepare)
    folder = prepare.outputs["data"]
    truth = COCO(str(folder / "annotations/instances_train2017.json"))
    (image,), (annotation,) = truth.imgs.values(), truth.anns.values()
    assert (folder / "train2017" / image["file_name"]).read_bytes() == Path(
        "mine/train/sub/dög 1.png"
    ).read_bytes()
    assert (annotation["iscrowd"], annotation["area"]) == (0, 80.0)
    assert json.loads((folder / "manifest.json").read_text())["classes"] == ["dog"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"id": 4, "bbox": [0, 0, 1, 1]}]}, r"annotation 4 has no segmentation.*add masks"),
        (
            {"images": [{"id": 1, "file_name": "lost.png"}]},
            r"mine/train/lost\.png: missing, and .*json names it",
        ),
        ({"annotations": 3}, r"mine/train\.json: not COCO's JSON \(annotations is a number"),
    ],
)
def test_a_coco_json_that_does_not_fit_is_explained(from_source, changes, message):
    provide, _ = from_source("coco", kind="folder", **coco_folder(**changes))
    with pytest.raises(PacavitError, match=message):
        sources.provide(provide)
    assert not any(output.exists() for output in provide.outputs.values())


def ade20k_folder() -> dict[str, object]:
    """Write two splits of two images with label maps, and return where they are."""
    where: dict[str, object] = {"classes": ["sky", "old house"]}
    for split in ("train", "val"):
        for i, form in enumerate(("png", "jpg")):
            picture(Path("mine") / split / "images" / f"{i}.{form}", i)
            labels = Path("mine") / split / "labels" / f"{i}.png"
            labels.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((36, 48), i + 1, np.uint8)).save(labels)
        where[split] = {"images": f"mine/{split}/images", "labels": f"mine/{split}/labels"}
    return where


def test_pairs_of_images_and_label_maps_become_a_segmentation_data_set(from_source):
    provide, prepare = from_source("ade20k", kind="folder", **ade20k_folder())
    sources.provide(provide)
    MODULES["ade20k"].prepare(prepare)
    folder = prepare.outputs["data"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["classes"], manifest["counts"]) == (["sky", "old house"], {"train": 2, "val": 2})
    labels = Image.open(folder / "annotations/training/ADE_train_00000002.png")
    assert np.unique(labels).tolist() == [2]


def test_label_maps_that_do_not_fit_are_named(from_source):
    where = ade20k_folder()
    Path("mine/val/labels/1.png").unlink()
    with pytest.raises(
        PacavitError, match=r"mine/val/labels/1\.png: missing, and mine/val/images/1\.jpg needs it"
    ):
        sources.provide(from_source("ade20k", kind="folder", **where)[0])
    picture(Path("mine/val/labels/1.png"), 1)
    provide, prepare = from_source("ade20k", kind="folder", **where)
    sources.provide(provide)
    with pytest.raises(PacavitError, match=r"ADE_val_00000002\.png is RGB \(48, 36\), not one byte a pixel"):
        MODULES["ade20k"].prepare(prepare)


def test_a_photo_that_its_exif_data_turn_is_refused_where_pixels_count(from_source):
    where = ade20k_folder()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(Path("mine/train/images/1.jpg"), 1, exif=exif)
    with pytest.raises(
        PacavitError, match=r"mine/train/images/1\.jpg: turned by its Exif data; save it upright"
    ):
        sources.provide(from_source("ade20k", kind="folder", **where)[0])


@pytest.mark.slow
def test_images_of_ones_own_are_trained_on_by_a_scale_of_ones_own(project):
    """What the README tells: copy a scale, edit its data page, run."""
    shutil.copytree("params/mini", "params/mine")
    for name, colour in (("red", 0), ("blue", 2)):
        for i in range(40):
            pixels = np.random.default_rng(i).integers(0, 120, (40, 40, 3), np.uint8)
            pixels[..., colour] = 255
            path = Path("photos") / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    own = {"kind": "folder", "directory": "photos", "val_fraction": 0.25}
    change(Path("params/mine/data.yaml"), "imagenet.archives", own)
    shorten(Path("params/mine/pretrain.yaml"), epochs=3, global_batch=4, micro_batch=4)
    for stage, names in (
        *(("archives_imagenet", {}), ("prepare_imagenet", {})),
        *((step, {"variant": "test_pacavit", "seed": 0}) for step in ("pretrain", "evaluate_imagenet")),
    ):
        run(stage, "mine", **names)
    metrics = targets.path("evaluate_imagenet.metrics", "mine", variant="test_pacavit", seed=0)
    measured = json.loads(metrics.read_text())
    assert {values["name"] for values in measured["per_class"].values()} == {"red", "blue"}
    assert measured["top1"] > 90
    assert measured["origin"]["official"] is False
