"""The report of a run of the whole miniature in a browser, and the same run in `mlflow ui`."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, needs_chromium
from mlflow_helpers import free_port, serving

from clones import ROOT
from pacavit import published
from pacavit.interpretation.measures import unpack
from pacavit.paths import PUBLISHED

pytestmark = [pytest.mark.slow, needs_chromium]

#: Folder that takes pictures of the pages.
SCREENSHOTS = "PACAVIT_SCREENSHOTS"


@pytest.fixture(scope="module")
def address(small_run):
    return (small_run.folder / "reports/mini/index.html").as_uri()


def keep(seen, name: str, **options) -> None:
    if folder := os.environ.get(SCREENSHOTS):
        Path(folder).mkdir(parents=True, exist_ok=True)
        seen.page.screenshot(path=Path(folder, f"{name}.png"), **options)


@pytest.mark.parametrize(("name", "viewport"), [("desktop", DESKTOP), ("phone", PHONE)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_an_error_or_a_request_and_fits(opened, address, name, viewport, scheme):
    with opened(address, viewport, scheme) as seen:
        seen.page.wait_for_timeout(300)
        assert seen.errors == []
        assert seen.outside(address) == []
        assert not seen.overflows()
        keep(seen, f"report-{name}-{scheme}")
        seen.page.locator("[data-clusters]").first.scroll_into_view_if_needed()
        keep(seen, f"report-{name}-{scheme}-clusters")


def test_filters_of_the_ledger_leave_what_fits_and_come_back(opened, address):
    with opened(address) as seen:
        rows = seen.page.locator("#ledger tbody tr:visible")
        count = seen.page.locator("[data-part='count']")
        printed = len(published.read(ROOT / PUBLISHED))
        assert rows.count() == printed
        seen.page.locator("select[name='task']").select_option("coco")
        assert {row.get_attribute("data-task") for row in rows.all()} == {"coco"}
        seen.page.locator("input[value='needs data']").uncheck()
        assert "needs data" not in {row.get_attribute("data-verdict") for row in rows.all()}
        seen.page.locator("input[name='text']").fill("swin parameters")
        assert all("swin" in row.text_content().lower() for row in rows.all())
        assert 0 < rows.count() < 30
        assert count.inner_text() == f"{rows.count()} of {printed} published numbers"
        seen.page.locator("button[type='reset']").click()
        seen.page.wait_for_function(
            f"document.querySelectorAll('#ledger tbody tr:not([hidden])').length == {printed}"
        )


def test_filters_work_by_keyboard_alone(opened, address):
    with opened(address) as seen:
        seen.page.locator("input[name='text']").focus()
        seen.page.keyboard.type("pvt")
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.type("imagenet")
        rows = seen.page.locator("#ledger tbody tr:visible")
        assert rows.count() > 0
        assert {row.get_attribute("data-task") for row in rows.all()} == {"imagenet"}
        assert all("pvt" in row.inner_text().lower() for row in rows.all())


def test_a_click_on_a_patch_shows_its_clusters(opened, address, small_run):
    view = json.loads(
        (small_run.folder / "reports/mini/figures/imagenet/test_pacavit/seed0/view.json").read_text()
    )[0]["stages"][0]
    with opened(address) as seen:
        canvas = seen.page.locator("[data-part='image']").first
        canvas.wait_for()
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] - 3, "y": box["height"] - 3})
        told = seen.text("told")
        assert told.startswith(f"Patch in row {view['height']}, column {view['width']}: ")
        assert f"belongs most to cluster {unpack(view['strongest'])[-1]};" in told


def test_a_curve_tells_its_values_under_the_pointer_and_by_keys(opened, address):
    with opened(address) as seen:
        place = seen.page.locator("[data-curve]").first
        curve, told = place.locator("svg.curve"), place.locator("p[aria-live]")
        curve.scroll_into_view_if_needed()
        curve.hover()
        under = told.inner_text()
        assert under.startswith("Update ")
        curve.press("End")
        last = told.inner_text()
        curve.press("Home")
        assert told.inner_text() != last
        assert "train loss" in last


def test_every_number_has_its_provenance(opened, address):
    with opened(address) as seen:
        text = seen.page.content()
        for word in ("commit", "weights", "parameters", "MLflow run", "command", "function"):
            assert f"<dt>{word}</dt>" in text
        assert seen.page.locator("svg.dag text", has_text="pretrain").count() == 1


@pytest.fixture(scope="module")
def mlflow_ui(small_run):
    """The address of `mlflow ui` over the run."""
    with contextlib.chdir(small_run.folder), serving("ui", free_port()) as address:
        yield address


def of_pages(errors: list[str]) -> list[str]:
    """Leave out what MLflow's page says of its own table, and that its server lacks something it asks for."""
    return [text for text in errors if not text.startswith(("AG Grid: since", "Failed to load resource"))]


def test_mlflow_ui_shows_the_reproduction_and_its_stages_below_it(opened, mlflow_ui):
    with opened(f"{mlflow_ui}/#/experiments/1/runs?workflowType=machine_learning") as seen:
        row = seen.page.locator("[role=row]").filter(has_text="reproduction mini").first
        row.wait_for(timeout=60_000)
        row.locator("button").first.click()
        for job in ("report", "overview", "claims"):
            seen.page.get_by_text(job, exact=True).first.wait_for(timeout=60_000)
        seen.page.get_by_label("Close").first.click()
        keep(seen, "mlflow")
        assert of_pages(seen.errors) == []
        assert seen.outside(mlflow_ui) == []


def test_mlflow_ui_lists_the_final_weights_as_models(opened, mlflow_ui):
    with opened(f"{mlflow_ui}/#/models?workflowType=machine_learning") as seen:
        for name in ("pacavit-mini-pretrain-test_pacavit", "pacavit-mini-ade20k-test_pacavit-paca"):
            seen.page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
        keep(seen, "mlflow-models")
        assert of_pages(seen.errors) == []
