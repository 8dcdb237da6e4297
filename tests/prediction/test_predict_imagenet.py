"""Classes of images: as in the evaluation, and drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from pacavit.data.manifest import read_manifest
from pacavit.files import sha256
from pacavit.measurement import imagenet


def test_the_probabilities_are_those_of_the_evaluation(model, photos, predict, results, project):
    made = model("imagenet")
    photos("imagenet", 3)
    printed = predict("imagenet", "photos", "--top", 3).output
    assert printed == "found: 3 pictures, and predictions.json\n"
    recipe = made.job.params.pretrain.recipe.model_copy(update={"image_size": 48})  # of the page
    loader = imagenet.validation_loader(made.job, recipe, 10, 0)
    logits, _ = imagenet.predict(made.model, loader, torch.device("cpu"), None)
    values, indices = logits.softmax(1).topk(3)
    names = read_manifest(made.job.inputs["data"])["classes"]
    found = results()
    assert {key: found[key] for key in ("task", "variant", "scale", "top")} == {
        "task": "imagenet",
        "variant": "test_pacavit",
        "scale": "mini",
        "top": 3,
    }
    weights = project / "model.safetensors"
    assert found["weights"] == {"file": "model.safetensors", "sha256": sha256(weights)}
    for i, item in enumerate(found["images"]):
        assert (item["id"], item["image"], item["picture"]) == (i + 1, f"photos/{i}.JPEG", f"{i}.png")
        assert [c["class"] for c in item["classes"]] == indices[i].tolist()
        assert [c["label"] for c in item["classes"]] == [names[j] for j in indices[i]]
        assert [c["probability"] for c in item["classes"]] == pytest.approx(values[i].tolist(), abs=1e-5)


def test_the_picture_shows_the_image_and_more(model, photos, predict, project):
    model("imagenet")
    (path,) = photos("imagenet", 1)
    predict("imagenet", path)
    picture = np.asarray(Image.open(project / "found/0.png").convert("RGB"))
    image = np.asarray(Image.open(path).convert("RGB"))
    assert max(picture.shape) >= 660 > max(image.shape)
    # Below the lines of text, the picture is the image, enlarged.
    assert len(np.unique(picture[:100])) > 1
    Image.fromarray(255 - image).save(project / "negative.png")
    predict("imagenet", project / "negative.png")
    negative = np.asarray(Image.open(project / "found/negative.png").convert("RGB"))
    assert negative.shape == picture.shape
    assert (negative != picture).mean() > 0.3


def test_there_are_no_more_classes_than_the_model_has(model, photos, predict, results):
    model("imagenet")
    photos("imagenet", 1)
    predict("imagenet", "photos", "--top", 100)
    (item,) = results()["images"]
    assert sorted(c["class"] for c in item["classes"]) == list(range(10))
    assert sum(c["probability"] for c in item["classes"]) == pytest.approx(1, abs=1e-5)


def test_names_from_a_file_win_and_may_hold_any_sign(model, photos, predict, results, project):
    model("imagenet")
    photos("imagenet", 1)
    names = ["$x", "a_b$", r"\frac", "déjà", "_e", *"fghij"]
    (project / "names.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    predict("imagenet", "photos", "--classes", "names.txt", "--top", 10)
    (item,) = results()["images"]
    assert all(c["label"] == names[c["class"]] for c in item["classes"])
