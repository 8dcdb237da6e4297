"""Where archives come from: the user's own, an address, or a folder of images that is packed."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from few_pictures import MODULES, picture
from PIL import Image
from test_fetch import Server, running

from pacavit.data import fetch, registry, sources
from pacavit.errors import PacavitError
from pacavit.pipeline import targets
from pacavit.pipeline.run import run
from pacavit.prediction.run import predict
from pages import change, shorten


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
        ({"annotations": 3}, r"mine/train\.json is not COCO's JSON \(annotations is a number"),
    ],
)
def test_a_coco_json_that_does_not_fit_is_explained(from_source, changes, message):
    provide, _ = from_source("coco", kind="folder", **coco_folder(**changes))
    with pytest.raises(PacavitError, match=message):
        sources.provide(provide)
    assert not any(output.exists() for output in provide.outputs.values())


@pytest.mark.slow
def test_turned_photographs_are_right_in_evaluation_and_prediction(project):
    """The classes are where the light comes from, and Exif data turn every second image upside down."""
    shutil.copytree("params/mini", "params/mine")
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    for name, light in (("above", np.linspace(255, 0, 40)), ("below", np.linspace(0, 255, 40))):
        Path("photos", name).mkdir(parents=True)
        for i in range(40):
            noise = np.random.default_rng(i).integers(-20, 20, (40, 40, 3))
            pixels = np.clip(light[:, None, None] + noise, 0, 255).astype(np.uint8)
            turned = i % 2
            stored = Image.fromarray(pixels[::-1, ::-1] if turned else pixels)
            stored.save(f"photos/{name}/{i}.jpg", exif=upside_down if turned else Image.Exif())
    own = {"kind": "folder", "directory": "photos", "val_fraction": 0.25}
    change(Path("params/mine/data.yaml"), "imagenet.archives", own)
    shorten(Path("params/mine/pretrain.yaml"), epochs=4, global_batch=4, micro_batch=4)
    model = {"variant": "test_pacavit", "seed": 0}
    run("archives_imagenet", "mine")
    run("prepare_imagenet", "mine")
    run("pretrain", "mine", **model)
    run("evaluate_imagenet", "mine", **model)
    assert json.loads(targets.path("evaluate_imagenet.metrics", "mine", **model).read_text())["top1"] > 90
    weights = targets.path("pretrain.weights", "mine", **model)
    predict("imagenet", [Path("photos")], weights, "test_pacavit", Path("predicted"), scale="mine", top=1)
    images = json.loads(Path("predicted/predictions.json").read_text())["images"]
    right = [Path(image["image"]).parent.name == image["classes"][0]["label"] for image in images]
    assert len(right) == 80
    assert np.mean(right) > 0.9


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
