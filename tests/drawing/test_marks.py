"""Colours, legends and marks of many classes with long names."""

import itertools

import numpy as np
import pytest
from PIL import Image

from pacavit.drawing.grid import image_grid
from pacavit.drawing.marks import Marked, class_legend, draw_objects
from pacavit.drawing.style import COLOURS, class_colours, figure, oklab

NAMES = ["door; double door", "potter's wheel", "_background_", "$x$", "", "tench, Tinca tinca", "W" * 200]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 80, 150])
def test_colours_of_classes_are_apart_from_each_other_and_from_grey(count):
    colours = class_colours(count)
    assert colours.shape == (count, 3)
    lab = oklab(colours)
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(apart, default=1) > (0.08 if count <= 80 else 0.05)
    assert (np.linalg.norm(lab - oklab(np.full(3, 0.5)), axis=1) > 0.05).all()


def test_a_class_keeps_its_colour_when_others_are_added():
    np.testing.assert_array_equal(class_colours(150)[:80], class_colours(80))


def testoklab_is_that_of_its_author():
    np.testing.assert_allclose(oklab(np.array([1.0, 0.0, 0.0])), [0.628, 0.225, 0.126], atol=1e-3)


@pytest.mark.parametrize("width", [3.0, 10.0])
@pytest.mark.parametrize("count", [1, 7, 150])
def test_a_legend_is_within_the_figure_which_grows_by_it(tmp_path, width, count):
    names = [NAMES[i % len(NAMES)] + (str(i) if i >= len(NAMES) else "") for i in range(count)]
    with figure(tmp_path / "figure.png", width, 2.0) as canvas:
        axis = canvas.subplots()
        class_legend(canvas, names, class_colours(count))
        canvas.draw_without_rendering()
        legend = canvas.legends[0].get_window_extent()
        assert len(canvas.legends[0].get_texts()) == count
        assert legend.x0 >= 0
        assert legend.x1 <= canvas.bbox.width
        assert axis.get_window_extent().height > 0.7 * 2 * canvas.dpi


def test_a_figure_without_classes_has_no_legend(tmp_path):
    with figure(tmp_path / "figure.png", 3, 2) as canvas:
        class_legend(canvas, [], class_colours(0))
        assert canvas.legends == []


def objects(boxes, text="person, individual 0.98"):
    mask = np.zeros((120, 160), bool)
    return [Marked(box, mask, np.array([1.0, 0, 0]), text) for box in boxes]


def test_texts_of_objects_cover_neither_each_other_nor_the_edge(tmp_path):
    boxes = [(x, y, 40, 30) for x in (0, 5, 130) for y in (0, 4, 60, 100)]
    with figure(tmp_path / "figure.png", 5, 4) as canvas:
        axis = canvas.subplots()
        axis.imshow(np.zeros((120, 160, 3)))
        missing = draw_objects(axis, objects(boxes))
        places = [text.get_window_extent() for text in axis.texts]
        assert len(places) + missing == len(boxes)
        assert len(places) >= 8
        assert not any(a.overlaps(b) for a, b in itertools.combinations(places, 2))
        picture = axis.get_window_extent()
        assert all(picture.x0 <= place.x0 and place.x1 <= picture.x1 for place in places)


def test_objects_on_one_place_have_their_texts_left_out_when_it_is_full(tmp_path):
    with figure(tmp_path / "figure.png", 2, 2) as canvas:
        axis = canvas.subplots()
        axis.imshow(np.zeros((120, 160, 3)))
        assert draw_objects(axis, objects([(10, 10, 20, 20)] * 50)) > 0


@pytest.mark.parametrize(
    "sizes",
    [[(96, 96)] * 6, [(480, 360)] * 6, [(480, 120), (120, 480), (64, 64)], [(1, 400)], [(2000, 1500)]],
)
def test_every_image_has_its_panels_in_a_figure_of_a_page(tmp_path, sizes):
    path = tmp_path / "figure.png"
    with image_grid(path, sizes, ("image", "labels", "prediction")) as (_, rows):
        assert [len(row) for row in rows] == [3] * len(sizes)
        for row, (width, height) in zip(rows, sizes, strict=True):
            for axis in row:
                axis.imshow(np.zeros((height, width, 3)))
    with Image.open(path) as drawn:
        assert drawn.width <= 1100
        assert drawn.height <= 500 * len(sizes) + 50


def test_the_usual_colours_come_first():
    from matplotlib.colors import to_hex

    assert [to_hex(colour).upper() for colour in class_colours(7)] == list(COLOURS[:7])
