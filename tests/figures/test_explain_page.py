"""The page of `pacavit explain` in a browser: it opens from disk, and a click shows another patch's clusters."""

import json

import pytest
from browser import DESKTOP, PHONE, needs_chromium, opened

from pacavit.figures.explain import explain

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page(photo, segmentor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "seen"
    explain([photo], segmentor, "test_pacavit", folder, 64, names=["sky", "road", "house"])
    return folder


def test_it_opens_without_an_error_or_a_request(page):
    address = (page / "index.html").as_uri()
    with opened(address) as seen:
        seen.page.wait_for_timeout(200)
        assert seen.errors == []
        assert seen.outside(address) == []


def test_a_click_and_the_arrow_keys_choose_a_patch(page):
    view = json.loads((page / "view.json").read_text())[0]["stages"][0]
    with opened((page / "index.html").as_uri()) as seen:
        canvas = seen.page.locator("[data-part='image']")
        before = seen.pixels("looked-at")
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] * 0.01, "y": box["height"] * 0.01})
        assert seen.text("told").startswith("Patch in row 1, column 1:")
        assert f"belongs most to cluster {view['strongest'][0]};" in seen.text("told")
        assert seen.pixels("looked-at") != before
        canvas.press("ArrowRight")
        canvas.press("ArrowDown")
        assert seen.text("told").startswith("Patch in row 2, column 2:")
        canvas.press("ArrowUp")
        canvas.press("ArrowUp")
        assert seen.text("told").startswith("Patch in row 1, column 2:")


def test_a_cluster_can_be_chosen_and_a_head_of_classes_has_their_names(page):
    with opened((page / "index.html").as_uri()) as seen:
        seen.page.locator("[data-part='stage']").select_option(index=4)
        assert "cluster" not in seen.text("told")
        before = seen.pixels("cluster")
        seen.page.locator("[data-part='chosen'] button:not([aria-pressed='true'])").first.click()
        assert seen.pixels("cluster") != before
        assert seen.text("cluster-name") in ("sky", "road", "house")


def test_a_stage_without_clusters_shows_its_attention(page):
    with opened((page / "index.html").as_uri()) as seen:
        seen.page.locator("[data-part='stage']").select_option(index=3)
        assert "this stage has no clusters" in seen.text("told")
        assert not seen.page.locator("[data-part='cluster-figure']").is_visible()
        assert seen.errors == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_at_any_width_and_dark_mode_is_dark(page, viewport, scheme):
    with opened((page / "index.html").as_uri(), viewport, scheme) as seen:
        assert not seen.overflows()
        red = seen.page.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/)[0]")
        assert (int(red) > 200) == (scheme == "dark")  # light letters on a dark ground
