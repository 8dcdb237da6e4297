"""Figures and tables over all models, from the ledger of the repository."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pacavit import params, paths, published
from pacavit.claims import ledger
from pacavit.claims.complexity import attention_costs
from pacavit.figures import overview
from pacavit.pipeline import targets
from pacavit.tracking import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the stage writes if the first model had been trained, to 80.0 %."""
    folder = tmp_path_factory.mktemp("overview")
    claims = published.read(ROOT / paths.PUBLISHED)
    complexity = json.loads((ROOT / targets.path("complexity.complexity", "mini")).read_text())
    complexity["attention"] = attention_costs()
    (folder / "complexity.json").write_text(json.dumps(complexity))
    entries = ledger.judge_all(claims, complexity, {}, params.load("mini").claims)
    entries = [replace(e, measured="80.0") if e.id == "imagenet.main.1.top1" else e for e in entries]
    benchmarks = folder / "benchmarks.json"
    sizes = [
        {"name": f"{kind}, {size}², {what}", "median": size * 1.5}
        for kind in overview.ATTENTION
        for size in (224, 384)
        for what in ("seconds", "megabytes")
    ]
    benchmarks.write_text(json.dumps({"sections": {"attention": sizes}}))
    job = SimpleNamespace(
        inputs={
            "ledger": folder / "ledger.csv",
            "complexity": folder / "complexity.json",
            "benchmarks": benchmarks,
        },
        outputs={key: folder / path.name for key, path in targets.outputs("overview", "mini", {}).items()},
        run=Run(None),
    )
    ledger.save(job.inputs["ledger"], entries)
    overview.write(job)
    return SimpleNamespace(folder=folder, job=job, entries=entries)


def test_every_output_is_there_and_a_figure_shows_something(written):
    for path in written.job.outputs.values():
        assert path.stat().st_size > 500
        if path.suffix == ".png":
            assert np.asarray(Image.open(path).convert("L")).std() > 10


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(written):
    before = {key: path.read_bytes() for key, path in written.job.outputs.items()}
    overview.write(written.job)
    assert {key: path.read_bytes() for key, path in written.job.outputs.items()} == before


def test_tables_hold_every_published_number_of_the_task(written):
    for task in ("imagenet", "coco", "ade20k"):
        table = overview.tabulate([e for e in written.entries if e.task == task])
        assert len(table) == sum(e.task == task and e.metric != "statement" for e in written.entries)
        assert (written.folder / f"{task}.md").read_text().count("\n") == len(table) + 2
        html = (written.folder / f"{task}.html").read_text()
        assert html.count("<tr") == len(table) + 1
        assert "\\begin{longtable}" in (written.folder / f"{task}.tex").read_text()


def test_a_difference_is_measured_minus_published(written):
    first = next(e for e in written.entries if e.id == "imagenet.main.1.params")
    assert float(first.measured) - float(first.published) == pytest.approx(
        float(ledger.difference(first)), abs=0.01
    )
    trained = next(e for e in written.entries if e.id == "imagenet.main.1.top1")
    assert ledger.difference(trained) == "-0.9"
    missing = next(e for e in written.entries if e.id == "imagenet.main.2.top1")
    assert ledger.difference(missing) == "—"


def test_a_measured_accuracy_is_a_point_of_its_own(written):
    axis = Figure().subplots()
    size = next(e for e in written.entries if e.id == "imagenet.main.1.params")
    trained = next(e for e in written.entries if e.id == "imagenet.main.1.top1")
    overview._scatter(axis, [(size, trained)])
    lines = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert lines["PaCa, published"] == [[12.2, 80.9]]
    assert lines["PaCa, measured"] == [[12.2, 80.0]]
    assert lines["Swin, published"] == []


def test_the_measured_times_are_those_of_the_committed_benchmarks():
    committed = json.loads((ROOT / paths.BENCHMARKS).read_text())["sections"]["attention"]
    for kind in overview.ATTENTION:
        for what in ("seconds", "megabytes"):
            patches, values = overview._measured(committed, kind, what)
            assert patches == sorted(patches)
            assert patches[0] == 56**2
            assert min(values) > 0
