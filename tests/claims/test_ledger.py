"""Verdicts: what is measured, what is not, and what becomes of it in the README."""

import json
from pathlib import Path

import pytest

from jobs import describe
from pacavit import params, paths
from pacavit.claims.ledger import (
    VERDICTS,
    as_markdown,
    judge_all,
    read,
    summary,
    write,
)
from pacavit.claims.results import Measured, official, trained
from pacavit.params.claims import ClaimsPage
from pacavit.pipeline import targets
from pacavit.published import Claim
from pacavit.tasks import TASKS

TINY = "pacavit_tiny_p2cconv_100_0"
PAGE = ClaimsPage.model_validate(
    {
        "last_places": 1,
        "metrics": {
            "top1": {"tolerance": 0.2, "seeds": 1},
            "ap": {"tolerance": 0.4, "seeds": 1},
            "miou": {"tolerance": 0.6, "seeds": 3},
        },
    }
)
OPERATIONS = {"attention": int(0.5e9)}


def claim(metric: str, value: str, **fields) -> Claim:
    task = fields.pop("task", "imagenet")
    unit = {"parameters": "M", "multiply_adds": "G"}.get(metric, "%")
    given = {
        "id": f"{task}.{metric}",
        "task": task,
        "model": "PaCa",
        "variant": TINY,
        "head": "paca" if task == "ade20k" else "",
        "setting": "",
        "input": "224x224" if metric == "multiply_adds" else "",
        "metric": metric,
        "value": value,
        "unit": unit,
        "source": "a table",
        "note": "",
        "misprint": "",
        "checkpoint": "",
    }
    return Claim(**{**given, **fields})


def complexity(parameters: float = 12.2007e6, multiply_adds: float = 3.237e9, variant: str = TINY) -> dict:
    model = {
        "task": "imagenet",
        "variant": variant,
        "head": "",
        "input": "224x224",
        "parameters": int(parameters),
        "operations": OPERATIONS,
        "multiply_adds": int(multiply_adds),
        "multiply_adds_authors": int(multiply_adds + 1e9),
    }
    return {"models": [model], "attention": {}, "origin": {"commit": "abc"}}


def judged(one: Claim, results=None, **counts):
    return judge_all([one], complexity(**counts), results or {}, PAGE)[0]


@pytest.mark.parametrize(
    ("published", "parameters", "verdict"),
    [
        ("12.2", 12.2007e6, "reproduced"),
        ("12.2", 12.15e6, "reproduced"),
        ("12.2", 12.26e6, "within tolerance"),  # cut off, not rounded
        ("12.2", 12.2999e6, "within tolerance"),
        ("12.2", 12.31e6, "differs"),
        ("12", 12.2007e6, "reproduced"),
        ("12.20", 12.2007e6, "reproduced"),
        ("12.21", 12.2007e6, "within tolerance"),
    ],
)
def test_a_count_agrees_to_its_last_printed_place(published, parameters, verdict):
    assert judged(claim("parameters", published), parameters=parameters).verdict == verdict


def test_a_known_misprint_is_none_if_it_is_measured_after_all():
    off = claim("parameters", "46.7", misprint="digit slip")
    assert judged(off, parameters=47.66e6).verdict == "misprint"
    assert judged(off, parameters=47.66e6).why == "digit slip"
    assert judged(off, parameters=46.7e6).verdict == "reproduced"


def test_our_operations_are_compared_in_the_authors_way_and_rivals_correctly():
    ours = judged(claim("multiply_adds", "4.2"))
    assert (ours.verdict, ours.measured, ours.correct) == ("reproduced", "4.237", "3.237")
    rival = judged(claim("multiply_adds", "3.2", variant="swin_tiny"), variant="swin_tiny")
    assert (rival.verdict, rival.measured) == ("reproduced", "3.237")


def test_a_source_that_forgot_attention_is_told_so():
    rival = judged(claim("multiply_adds", "2.7", variant="pvt_small"), variant="pvt_small")
    assert rival.verdict == "differs"
    assert "leave out the products of attention: 2.737 without" in rival.why


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(80.93, "reproduced"), (80.75, "within tolerance"), (81.1, "within tolerance"), (80.6, "differs")],
)
def test_an_accuracy_agrees_within_its_tolerance(value, verdict):
    results = {("imagenet", TINY, ""): Measured({"top1": [value]}, True, "abc", "def")}
    entry = judged(claim("top1", "80.9"), results)
    assert entry.verdict == verdict
    assert (entry.seeds, entry.spread, entry.commit, entry.data) == ("1", "", "abc", "def")


def test_an_accuracy_needs_its_seeds():
    one = claim("miou", "45.65", task="ade20k")
    two = {("ade20k", TINY, "paca"): Measured({"miou": [45.5, 45.9]}, True, "abc", "def")}
    assert judged(one, two).verdict == "needs data"
    assert "2 of 3 seeds" in judged(one, two).why
    three = {("ade20k", TINY, "paca"): Measured({"miou": [45.5, 45.9, 45.6]}, True, "abc", "def")}
    entry = judged(one, three)
    assert (entry.verdict, entry.measured, entry.spread) == ("within tolerance", "45.67", "0.21")


def test_what_nobody_trained_needs_data():
    assert "not trained on imagenet here" in judged(claim("top1", "80.9")).why
    assert "trains PaCa-ViT only" in judged(claim("top1", "81.3", variant="swin_tiny")).why


def statement(name: str) -> Claim:
    return claim("statement", "words", id=name, variant="", unit="")


def test_a_statement_about_accuracy_compares_means_and_takes_rivals_published_values():
    mlp = "pacavit_small_p2cmlp_100_0"
    small = "pacavit_small_p2cconv_100_0"
    alike = statement("claim.imagenet_conv_vs_mlp")
    assert judged(alike).verdict == "needs data"
    trained = {
        ("imagenet", name, ""): Measured({"top1": [v]}, True, "a", "d")
        for name, v in ((mlp, 83.1), (small, 83.0))
    }
    assert judged(alike, trained).verdict == "reproduced"
    better = statement("claim.imagenet_vs_prior")
    rivals = [claim("top1", "83.2", id="a.swin", variant="swin_tiny")]
    entry = judge_all([better, *rivals], complexity(), trained, PAGE)[0]
    assert entry.verdict == "differs"
    assert f"imagenet {small} top1 83.00 is not > imagenet swin_tiny top1 83.20" in entry.why


def test_a_statement_about_cost():
    linear = {"patches": [1, 2, 4], "clusters_100": [10, 20, 40], "clusters_0": [10, 40, 160]}
    given = {**complexity(), "attention": linear}
    assert judge_all([statement("claim.c_linear")], given, {}, PAGE)[0].verdict == "reproduced"
    given["attention"] = {**linear, "clusters_100": linear["clusters_0"]}
    assert judge_all([statement("claim.c_linear")], given, {}, PAGE)[0].verdict == "differs"


def test_the_summary_counts_every_verdict():
    entries = judge_all([claim("parameters", "12.2"), claim("top1", "80.9")], complexity(), {}, PAGE)
    table = summary(entries)
    assert list(table) == ["PaCa-ViT: accuracy", "PaCa-ViT: parameters", "all"]
    assert table["all"] == {**dict.fromkeys(VERDICTS, 0), "reproduced": 1, "needs data": 1}
    assert "| all | 1 | 0 | 0 | 0 | 1 | 2 |" in as_markdown(table, "mini")


def with_metrics(scale: str, top1: float, official: bool) -> None:
    given = params.load(scale)
    for variant in given.targets.variants:
        for seed in given.targets.seeds:
            for task, names in (("imagenet", {}), ("coco", {})):
                put(task, scale, top1, official, variant=variant, seed=seed, **names)
            for head in given.targets.heads:
                put("ade20k", scale, top1, official, variant=variant, head=head, seed=seed)


def put(task: str, scale: str, top1: float, official: bool, **names) -> None:
    path = targets.path(f"evaluate_{task}.metrics", scale, **names)
    path.parent.mkdir(parents=True, exist_ok=True)
    ap = {"AP": 0.433, "AP50": 0.66, "AP75": 0.475}
    values = {"top1": top1, "mIoU": 0.4565, "bbox": ap, "segm": ap}
    path.write_text(json.dumps({**values, "origin": {"commit": "abc", "data": "def", "official": official}}))


def test_metrics_of_the_official_data_are_taken_in_published_units(published_numbers):
    with_metrics("paper", 80.9, official=True)
    found = official(trained(describe("claims", params.load("paper"), "paper")))
    assert found[("imagenet", TINY, "")].values["top1"][0] == 80.9
    assert found[("coco", TINY, "")].values["ap50_box"][0] == pytest.approx(66.0)
    assert found[("ade20k", TINY, "paca")].values["miou"][0] == pytest.approx(45.65)
    assert found[("ade20k", TINY, "paca")].commit == "abc"


def test_one_seed_on_other_data_makes_a_model_unofficial(published_numbers):
    with_metrics("paper", 80.9, official=True)
    given = params.load("paper")
    wanted = given.targets.model_copy(update={"seeds": [*given.targets.seeds, 7]})
    put("imagenet", "paper", 80.9, official=False, variant=TINY, seed=7)
    found = official(
        trained(describe("claims", params.Params(**{**vars(given), "targets": wanted}), "paper"))
    )
    assert ("imagenet", TINY, "") not in found
    assert ("coco", TINY, "") in found


def test_metrics_of_digits_say_nothing_of_published_numbers(published_numbers):
    with_metrics("mini", 90.0, official=False)
    assert official(trained(describe("claims", params.load("mini")))) == {}


def test_the_stage_writes_a_ledger_that_reads_back(project, monkeypatch):
    published = Path(__file__).resolve().parents[2] / paths.PUBLISHED
    small = project / paths.PUBLISHED
    small.parent.mkdir()
    small.write_text("".join(published.read_text().splitlines(keepends=True)[:4]))
    counts = project / "complexity.json"
    counts.write_text(json.dumps(complexity()))

    class Run:
        def log(self, metrics, step):
            assert metrics["needs_data"] == 1

        def artifact(self, path):
            pass

    tables = {f"{task}_{form}": project / f"{task}.{form}" for task in TASKS for form in ("csv", "md")}
    job = describe(
        "claims",
        params.load("mini"),
        inputs={"published": small, "complexity": counts},
        outputs={"ledger": project / "ledger.csv", **tables},
        run=Run(),
    )
    write(job)
    entries = read(job.outputs["ledger"])
    assert [entry.metric for entry in entries] == ["top1", "parameters", "multiply_adds"]
    assert entries[1].measured == "12.2007"
