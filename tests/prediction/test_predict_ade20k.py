"""Classes of pixels: as in the evaluation, and drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from pacavit.data.manifest import read_manifest
from pacavit.measurement import ade20k
from pacavit.prediction import ade20k as module


@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_the_labels_are_those_of_the_evaluation(model, photos, predict, results, project, head):
    made = model("ade20k", head)
    paths = photos("ade20k", 2)
    predict("ade20k", "photos")
    found = results()
    assert found["head"] == head  # told from the weights
    names = read_manifest(made.job.inputs["data"])["classes"]
    loader = ade20k.segmentation_loader(
        made.job, made.job.params.ade20k.recipe, made.job.params.evaluate.ade20k
    )
    kept = {}
    ade20k.measure(made.model, loader, len(names), kept, keep=range(10))
    expected = {name: prediction for name, prediction, _ in kept.values()}
    for item, path in zip(found["images"], paths, strict=True):
        with Image.open(project / "found" / item["label_map"]) as image:
            assert image.mode == "L"
            labels = np.asarray(image)
        assert labels.shape == (item["height"], item["width"])
        assert np.mean(labels == expected[path.stem] + 1) > 0.999
        shares = [c["share"] for c in item["classes"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        for c in item["classes"]:
            assert c["class"] == names[c["label"] - 1]
            assert c["share"] == pytest.approx(np.mean(labels == c["label"]))


def test_the_picture_shows_the_labels(model, photos, predict, project):
    model("ade20k", "paca")
    (path,) = photos("ade20k", 1)
    predict("ade20k", path)
    with Image.open(path) as image, Image.open(project / "found" / f"{path.stem}.png") as picture:
        assert max(picture.size) > max(image.size)
        # Digits and textures have less colour than the classes' own.
        picture = np.asarray(picture.convert("HSV").resize(image.size))
        image = np.asarray(image.convert("HSV"))
    assert picture[..., 1].mean() > image[..., 1].mean() + 10


def test_a_large_image_is_labelled_at_a_smaller_size(model, photos, predict, project, monkeypatch):
    model("ade20k", "paca")
    (path,) = photos("ade20k", 1)
    with Image.open(path) as image:
        size = image.size
    predict("ade20k", path, to="whole")
    monkeypatch.setattr(module, "MOST_PIXELS", size[0] * size[1] / 4)
    predict("ade20k", path, to="quarter")
    whole, quarter = (
        np.asarray(Image.open(project / folder / f"labels/{path.stem}.png"))
        for folder in ("whole", "quarter")
    )
    assert quarter.shape == whole.shape
    blocks = quarter[: size[1] // 2 * 2, : size[0] // 2 * 2]
    assert (blocks[::2, ::2] == blocks[1::2, 1::2]).mean() > 0.95
    assert (quarter == whole).mean() > 0.8


def test_a_single_class_is_told_from_the_background_which_keeps_label_0(
    model, photos, predict, results, project
):
    data = project / "data/mini/ade20k/manifest.json"
    data.write_text(
        json.dumps({**json.loads(data.read_text()), "classes": ["background", "crack"], "first_class": 0})
    )
    model("ade20k", "paca")
    photos("ade20k", 1)
    predict("ade20k", "photos")
    (project / "names.txt").write_text("crack\n")
    predict("ade20k", "photos", "--classes", "names.txt", to="named")
    for folder in ("found", "named"):
        (item,) = results(folder)["images"]
        labels = np.asarray(Image.open(project / folder / item["label_map"]))
        shares = {c["class"]: c["share"] for c in item["classes"]}
        assert shares.get("background", 0) == pytest.approx(np.mean(labels == 0))
        assert shares.get("crack", 0) == pytest.approx(np.mean(labels == 1))
