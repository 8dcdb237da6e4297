"""`pacavit explain`: figures, numbers and a page of the clusters on images of one's own."""

import base64
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.figures.explain import explain

FILES = {"clusters.png", "assignments.png", "attention.png", "view.json", "index.html"}


def test_everything_is_written_of_a_classifier(photo, classifier, tmp_path):
    target = tmp_path / "seen"
    second = shutil.copy(photo, tmp_path / "second.png")
    line = explain([photo, second], classifier, None, target, side=48)
    assert {path.name for path in target.iterdir()} == FILES
    assert str(target / "index.html") in line
    for name in FILES:
        if name.endswith(".png"):
            assert np.asarray(Image.open(target / name).convert("L")).std() > 10
    first, _ = json.loads((target / "view.json").read_text())
    assert first["name"] == "disc"
    assert [stage["name"] for stage in first["stages"]] == [f"stage {i}" for i in range(1, 5)]


def test_numbers_of_the_page_give_the_weights_back(photo, classifier, tmp_path):
    explain([photo], classifier, None, tmp_path / "seen", side=48)
    stage = json.loads((tmp_path / "seen/view.json").read_text())[0]["stages"][0]
    size, clusters = stage["height"] * stage["width"], stage["clusters"]
    assert (stage["height"], stage["width"]) == (12, 16)
    maps = np.frombuffer(base64.b64decode(stage["assignment"]), np.uint8).reshape(clusters, size) / 255
    weights = maps * np.array(stage["peaks"])[:, None]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0.01)
    attention = np.frombuffer(base64.b64decode(stage["attention"]), np.uint8)
    peaks = np.frombuffer(base64.b64decode(stage["attention_peaks"]), "<f4")
    given = attention.reshape(stage["heads"] * size, clusters) / 255 * peaks[:, None]
    np.testing.assert_allclose(given.sum(1), 1, rtol=0.02)


def test_the_same_input_gives_the_same_bytes(photo, classifier, tmp_path):
    for name in ("a", "b"):
        explain([photo], classifier, None, tmp_path / name, side=48)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_clusters_of_a_segmentation_head_are_the_classes(photo, segmentor, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("sky\n\nroad\nhouse\n", encoding="utf-8-sig")
    explain([photo], segmentor, "test_pacavit", tmp_path / "seen", 64, class_file=names)
    head = json.loads((tmp_path / "seen/view.json").read_text())[0]["stages"][-1]
    assert head["name"] == "head"
    assert head["names"] == ["sky", "road", "house"]
    assert head["clusters"] == 3


def test_values_of_the_page_are_escaped(classifier, photo, tmp_path):
    evil = tmp_path / "<script>alert(1)<!--.png"
    shutil.copy(photo, evil)
    explain([evil], classifier, None, tmp_path / "seen", side=48)
    assert "<script>alert" not in (tmp_path / "seen/index.html").read_text()


def test_a_file_that_is_no_image_leaves_nothing_behind(classifier, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(PacavitError, match=r"notes\.png: not readable as an image"):
        explain([text], classifier, None, tmp_path / "seen", side=48)
    assert not (tmp_path / "seen").exists()


def test_an_older_result_is_not_replaced(photo, classifier, tmp_path):
    (tmp_path / "seen").mkdir()
    with pytest.raises(PacavitError, match="is there already"):
        explain([photo], classifier, None, tmp_path / "seen", side=48)


def test_names_that_are_not_as_many_as_the_classes_are_refused(photo, segmentor, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("sky\nroad\n")
    with pytest.raises(PacavitError, match="2 names, and the head has 3 classes"):
        explain([photo], segmentor, "test_pacavit", tmp_path / "seen", 64, class_file=names)


def test_names_for_a_model_without_a_head_of_classes_are_refused(photo, classifier, tmp_path):
    with pytest.raises(PacavitError, match="no PaCa head"):
        explain([photo], classifier, None, tmp_path / "seen", 48, class_file=tmp_path / "classes.txt")


def test_more_images_than_a_figure_holds_are_refused_before_anything_is_computed(photo, classifier, tmp_path):
    for number in range(21):
        shutil.copy(photo, tmp_path / f"{number}.png")
    with pytest.raises(PacavitError, match="21 images: figures hold 20 at most"):
        explain([tmp_path], classifier, None, tmp_path / "seen", 48)


def test_the_command_line_takes_all_of_it(photo, segmentor, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("sky\nroad\nhouse\n")
    words = f"explain {photo} --weights {segmentor} --side 64 --at 0.2 0.8 --classes {names} --to {tmp_path / 'seen'}"
    result = CliRunner().invoke(cli, words.split(), catch_exceptions=False)
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "seen").iterdir()} == FILES
