"""`pacavit explain`: figures, numbers and a page of the clusters on images of one's own."""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pacavit.cli import cli
from pacavit.errors import PacavitError
from pacavit.figures import pages
from pacavit.figures.explain import explain

FILES = {"clusters.png", "assignments.png", "attention.png", "view.json", "index.html"}


#: The name of an image that a page must not take for its own.
EVIL = "<script>alert(1)<!--.png"


@pytest.fixture(scope="module")
def images(photo, tmp_path_factory):
    """Two images, the second of an evil name."""
    return [photo, Path(shutil.copy(photo, tmp_path_factory.mktemp("evil") / EVIL))]


@pytest.fixture(scope="module")
def seen(images, classifier, tmp_path_factory):
    """The folder in which two images are explained by a classifier, and what was said."""
    folder = tmp_path_factory.mktemp("classifier") / "seen"
    return folder, explain(images, classifier, None, folder, side=48)


@pytest.fixture(scope="module")
def seen_by_head(photo, segmentor, tmp_path_factory):
    """The folder in which an image is explained on the command line by a segmentor with names for its classes."""
    folder = tmp_path_factory.mktemp("segmentor")
    names = folder / "classes.txt"
    names.write_text("sky\n\nroad\nhouse\n", encoding="utf-8-sig")
    words = f"explain {photo} --weights {segmentor} --side 64 --at 0.2 0.8 --classes {names} --to {folder / 'seen'}"
    assert CliRunner().invoke(cli, words.split(), catch_exceptions=False).exit_code == 0
    return folder / "seen"


def test_everything_is_written_of_a_classifier(seen):
    target, line = seen
    assert {path.name for path in target.iterdir()} == FILES
    assert str(target / "index.html") in line
    for name in FILES:
        if name.endswith(".png"):
            assert np.asarray(Image.open(target / name).convert("L")).std() > 10
    first, _ = json.loads((target / "view.json").read_text())
    assert first["name"] == "disc"
    assert [stage["name"] for stage in first["stages"]] == [f"stage {i}" for i in range(1, 5)]


def test_numbers_of_the_page_give_the_weights_back(seen):
    stage = json.loads((seen[0] / "view.json").read_text())[0]["stages"][0]
    size, clusters = stage["height"] * stage["width"], stage["clusters"]
    assert (stage["height"], stage["width"]) == (12, 16)
    maps = np.frombuffer(base64.b64decode(stage["assignment"]), np.uint8).reshape(clusters, size) / 255
    weights = maps * np.array(stage["peaks"])[:, None]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=0.01)
    attention = np.frombuffer(base64.b64decode(stage["attention"]), np.uint8)
    peaks = np.frombuffer(base64.b64decode(stage["attention_peaks"]), "<f4")
    given = attention.reshape(stage["heads"] * size, clusters) / 255 * peaks[:, None]
    np.testing.assert_allclose(given.sum(1), 1, rtol=0.02)


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(seen, images, classifier, tmp_path):
    explain(images, classifier, None, tmp_path / "again", side=48)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (seen[0] / name).read_bytes()


def test_the_clusters_of_a_segmentation_head_are_the_classes(seen_by_head):
    head = json.loads((seen_by_head / "view.json").read_text())[0]["stages"][-1]
    assert head["name"] == "head"
    assert head["names"] == ["sky", "road", "house"]
    assert head["clusters"] == 3


def test_the_page_holds_the_numbers_in_a_form_that_no_value_of_them_can_leave(seen):
    page = (seen[0] / "index.html").read_text()
    assert "alert(1)" not in page
    text = re.search(r'<script type="application/gzip">(.*?)</script>', page)[1]
    view = json.loads(gzip.decompress(base64.b64decode(text)))
    assert "alert(1)" in view[1]["name"]
    assert view == json.loads((seen[0] / "view.json").read_text())


def test_values_of_the_page_are_escaped(tmp_path):
    pages.write(tmp_path / "index.html", "explain.html", title=EVIL, about=EVIL, view=[])
    page = (tmp_path / "index.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page


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


def test_the_command_line_takes_all_of_it(seen_by_head):
    assert {path.name for path in seen_by_head.iterdir()} == FILES


@pytest.mark.slow
def test_classes_without_names_count_as_in_label_maps(photo, segmentor, tmp_path):
    explain([photo], segmentor, "test_pacavit", tmp_path / "seen", 64)
    head = json.loads((tmp_path / "seen" / "view.json").read_text())[0]["stages"][-1]
    assert head["names"] == ["class 1", "class 2", "class 3"]
