"""What a user is told, and that nothing is written then."""

import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pacavit.errors import PacavitError


@pytest.fixture
def ready(model, photos):
    """A classifier and two images."""
    model("imagenet")
    photos("imagenet", 2)


@pytest.mark.parametrize(
    ("task", "option", "message"),
    [
        ("imagenet", ["--head", "paca"], "--head is for ade20k; imagenet has no use for it"),
        ("coco", ["--top", 3], "--top is for imagenet"),
        ("ade20k", ["--min-score", 0.1], "--min-score is for coco"),
        ("coco", ["--min-score", 2], "Invalid value for '--min-score'"),
    ],
)
def test_an_option_of_another_task_is_refused(predict, task, option, message):
    result = predict(task, "photos", *option)
    assert result.exit_code == 2
    assert message in result.output


def test_without_data_the_names_have_to_be_given(ready, predict, results, project):
    shutil.rmtree(project / "data")
    with pytest.raises(
        PacavitError, match=r"data/mini/imagenet: no prepared data set .* give them with --classes"
    ):
        predict("imagenet", "photos")
    assert not (project / "found").exists()
    (project / "names.txt").write_text("\n".join("abcdefghij"))
    predict("imagenet", "photos", "--classes", "names.txt")
    assert len(results()["images"]) == 2


def test_the_number_of_names_is_that_of_the_weights(ready, predict, project):
    (project / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(
        PacavitError, match=r"names\.txt: 2 classes, but model\.safetensors has 10; .* --classes"
    ):
        predict("imagenet", "photos", "--classes", "names.txt")
    assert not (project / "found").exists()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\xff\xfe\xff", "not text in UTF-8"), (None, "No such file")]
)
def test_an_unreadable_file_of_names_is_named(ready, predict, project, content, reason):
    if content is not None:
        (project / "names.txt").write_bytes(content)
    with pytest.raises(PacavitError, match=rf"names\.txt: cannot be read \({reason}.*a class name a line"):
        predict("imagenet", "photos", "--classes", "names.txt")


def test_weights_of_another_task_are_refused(ready, predict):
    with pytest.raises(PacavitError, match=r"model\.safetensors: holds a model for imagenet, not for coco"):
        predict("coco", "photos")


def test_weights_that_do_not_fit_are_refused(ready, predict, project):
    weights = load_file(project / "model.safetensors")
    del weights["norm4.weight"]
    save_file(weights, project / "model.safetensors")
    with pytest.raises(
        PacavitError, match=r"test_pacavit for imagenet at scale mini in 1 places: norm4\.weight"
    ):
        predict("imagenet", "photos")
    assert not (project / "found").exists()


def test_a_backbone_alone_is_refused(ready, predict, project):
    weights = {k: v for k, v in load_file(project / "model.safetensors").items() if not k.startswith("head.")}
    save_file(weights, project / "model.safetensors")
    with pytest.raises(
        PacavitError, match=r"model\.safetensors: holds no classifier; give the weights of a whole"
    ):
        predict("imagenet", "photos")


def test_weights_that_are_not_finite_are_refused(ready, predict, project):
    weights = load_file(project / "model.safetensors")
    weights["norm4.weight"][0] = torch.nan
    save_file(weights, project / "model.safetensors")
    with pytest.raises(PacavitError, match=r"norm4\.weight is not finite"):
        predict("imagenet", "photos")


def test_a_pth_is_taken_as_it_is(ready, predict, results, project):
    torch.save({"state_dict": load_file(project / "model.safetensors")}, project / "model.pth")
    predict("imagenet", "photos", to="one")
    predict("imagenet", "photos", weights="model.pth", to="two")
    assert results("one")["images"] == results("two")["images"]


def test_a_broken_image_is_told_before_anything_is_written(ready, predict, project):
    (project / "photos/z.jpg").write_bytes(b"text")
    with pytest.raises(PacavitError, match=r"photos/z\.jpg: not readable as an image"):
        predict("imagenet", "photos")
    assert not (project / "found").exists()


def test_results_of_an_earlier_run_do_not_stay_beside_new_pictures(ready, predict, project, monkeypatch):
    from pacavit.prediction.imagenet import Predictor

    predict("imagenet", "photos")
    monkeypatch.setattr(Predictor, "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict("imagenet", "photos")
    assert sorted(path.name for path in (project / "found").iterdir()) == ["0.png", "1.png"]


def test_images_of_one_stem_get_a_picture_each(ready, predict, results, project):
    Image.new("RGB", (20, 400), "blue").save(project / "photos/0.png")
    predict("imagenet", "photos")
    written = {item["image"]: item["picture"] for item in results()["images"]}
    assert written == {"photos/0.JPEG": "0.png", "photos/0.png": "0-2.png", "photos/1.JPEG": "1.png"}
    assert all((project / "found" / name).is_file() for name in written.values())


@pytest.mark.parametrize("to", ["found.txt/x", "found.txt/x/y"])
def test_below_a_file_nothing_is_written(ready, predict, project, to):
    (project / "found.txt").write_text("mine")
    with pytest.raises(PacavitError, match=r"found\.txt: is a file; give a folder as --to"):
        predict("imagenet", "photos", to=to)


def test_a_folder_in_the_place_of_the_results_is_named(ready, predict, project):
    (project / "found/predictions.json").mkdir(parents=True)
    with pytest.raises(PacavitError, match=r"found/predictions\.json: is a folder; remove it"):
        predict("imagenet", "photos")


def test_an_image_too_narrow_is_told_before_anything_is_written(ready, predict, project):
    Image.new("RGB", (400, 1)).save(project / "photos/strip.png")
    with pytest.raises(
        PacavitError, match=r"photos/strip\.png: has 400 × 1 pixels, too narrow to be resized"
    ):
        predict("imagenet", "photos")
    assert not (project / "found").exists()


@pytest.mark.parametrize("task", ["imagenet", "coco", "ade20k"])
@pytest.mark.parametrize("size", [(400, 4), (4, 400), (2, 2)])
def test_elongated_and_small_images_are_taken(model, photos, predict, results, project, task, size):
    model(task, "upernet" if task == "ade20k" else None)
    photos(task, 1)
    name = "x" * 240
    Image.new("RGB", size, "blue").save(project / f"photos/{name}.png")
    predict(task, "photos")
    (found,) = [item for item in results()["images"] if item["image"].endswith(f"{name}.png")]
    assert (found["width"], found["height"]) == size
    assert len(results()["images"]) == 2
    assert (project / "found" / found["picture"]).is_file()


def test_a_file_is_no_folder_to_write_into(ready, predict, project):
    (project / "found").write_text("mine")
    with pytest.raises(PacavitError, match="found: is a file; give a folder as --to"):
        predict("imagenet", "photos")
    assert (project / "found").read_text() == "mine"
