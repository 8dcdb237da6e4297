"""The page of `pacavit explain` in a browser: it opens from disk, and a click shows another patch's clusters."""

import json
import re

import numpy as np
import pytest
from browser import DESKTOP, PHONE, needs_chromium
from PIL import Image

from pacavit.checkpoints.inspection import restore
from pacavit.figures.clusters import heat, sized
from pacavit.figures.explain import explain
from pacavit.interpretation.measures import unpack
from pacavit.interpretation.views import observe

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def page(photo, segmentor, tmp_path_factory):
    names = tmp_path_factory.mktemp("names") / "classes.txt"
    names.write_text("sky\nroad\nhouse\n")
    folder = tmp_path_factory.mktemp("page") / "seen"
    explain([photo], segmentor, "test_pacavit", folder, 64, class_file=names)
    return folder


def test_it_opens_without_an_error_or_a_request(opened, page):
    address = (page / "index.html").as_uri()
    with opened(address) as seen:
        seen.page.wait_for_timeout(200)
        assert seen.errors == []
        assert seen.outside(address) == []


def test_a_click_and_the_arrow_keys_choose_a_patch(opened, page):
    stage = json.loads((page / "view.json").read_text())[0]["stages"][0]
    strongest = unpack(stage["strongest"])
    with opened((page / "index.html").as_uri()) as seen:
        canvas = seen.page.locator("[data-part='image']")
        before = seen.pixels("looked-at")
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] * 0.01, "y": box["height"] * 0.01})
        assert seen.text("told").startswith("Patch in row 1, column 1:")
        assert f"belongs most to cluster {strongest[0]};" in seen.text("told")
        assert seen.pixels("looked-at") != before
        canvas.press("ArrowRight")
        canvas.press("ArrowDown")
        assert seen.text("told").startswith("Patch in row 2, column 2:")
        canvas.press("ArrowUp")
        canvas.press("ArrowUp")
        assert seen.text("told").startswith("Patch in row 1, column 2:")


@pytest.mark.parametrize(("stage", "head", "patch"), [(1, 0, (2, 3)), (1, 1, (7, 0)), (2, 2, (1, 4))])
def test_what_is_drawn_is_the_attention_of_that_head_and_patch(
    opened, page, photo, segmentor, stage, head, patch
):
    model, _ = restore(segmentor, "test_pacavit")
    view = observe(model, sized(Image.open(photo), 64))[stage]
    seen_from = view.to_patches(patch)[head]
    with opened((page / "index.html").as_uri()) as seen:
        seen.page.locator("[data-part='stage']").select_option(index=stage)
        seen.page.locator("[data-part='head']").select_option(index=head)
        box = seen.page.locator("[data-part='image']").bounding_box()
        place = [(p + 0.5) / n for p, n in zip(patch, view.size, strict=True)]
        seen.page.locator("[data-part='image']").click(
            position={"x": place[1] * box["width"], "y": place[0] * box["height"]}
        )
        assert seen.text("told").startswith(f"Patch in row {patch[0] + 1}, column {patch[1] + 1}:")
        chosen = int(re.search(rf"head {head + 1} attends most to cluster (\d+)\.$", seen.text("told"))[1])
        weights = view.attention[head, patch[0] * view.size[1] + patch[1]]
        assert weights[chosen] == pytest.approx(weights.max(), rel=1 / 255)  # the page has bytes
        red = seen.page.locator("[data-part='looked-at']").evaluate(
            """(canvas, [height, width]) => {
                const cell = canvas.width / width, context = canvas.getContext("2d");
                return Array.from({ length: height * width }, (_, n) =>
                    context.getImageData((n % width + 0.5) * cell, (Math.floor(n / width) + 0.5) * cell, 1, 1).data[0]);
            }""",
            list(view.size),
        )
    np.testing.assert_allclose(np.array(red).reshape(view.size), _red(heat(seen_from)), atol=8)


def _red(share):
    """The red of the page's colours, dark blue over grey to yellow."""
    return np.interp(share, [0, 0.5, 1], [0, 124, 254])


def test_a_cluster_can_be_chosen_and_a_head_of_classes_has_their_names(opened, page):
    with opened((page / "index.html").as_uri()) as seen:
        seen.page.locator("[data-part='stage']").select_option(index=4)
        assert "cluster" not in seen.text("told")
        before = seen.pixels("cluster")
        seen.page.locator("[data-part='chosen'] button:not([aria-pressed='true'])").first.click()
        assert seen.pixels("cluster") != before
        assert seen.text("cluster-name") in ("sky", "road", "house")


def test_a_stage_without_clusters_shows_its_attention(opened, page):
    with opened((page / "index.html").as_uri()) as seen:
        seen.page.locator("[data-part='stage']").select_option(index=3)
        assert "this stage has no clusters" in seen.text("told")
        assert not seen.page.locator("[data-part='cluster-figure']").is_visible()
        assert seen.errors == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_at_any_width_and_dark_mode_is_dark(opened, page, viewport, scheme):
    with opened((page / "index.html").as_uri(), viewport, scheme) as seen:
        assert not seen.overflows()
        red = seen.page.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/)[0]")
        assert (int(red) > 200) == (scheme == "dark")  # light letters on a dark ground
