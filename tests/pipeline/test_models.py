"""Variants' models in the pipeline: what a job depends on, what is refused, and what runs only when it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.pipeline import dvc, models, targets
from pacavit.pipeline.table import STAGES
from pages import change

OWN = """
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet


@register_model
def own_resnet(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
    return ResNet(BasicBlock, (1, 1, 1, 1), channels=(8, 16, 24, 32), **kwargs)
"""
PEERS = ["mini_swin", "mini_pvt_v2", "mini_convnext", "mini_resnet", "mini_plain"]


@pytest.fixture
def given(project):
    return params.load("mini")


def add(variants, **targets_page):
    """Add variants to the miniature's pages, in a group of their own."""
    folder = Path("params/mini")
    for page, value in (
        ("pretrain", {"drop_path": 0.0, "clip_grad": None}),
        ("coco", {"drop_path": 0.0}),
        ("ade20k", {"drop_path": {"upernet": 0.0}}),
    ):
        change(
            folder / f"{page}.yaml",
            "variants",
            lambda old, value=value: {**old, **dict.fromkeys(variants, value)},
        )
    yaml = YAML()
    with open(folder / "targets.yaml") as file:
        content = yaml.load(file)
    content["groups"]["added"] = variants
    for key, value in targets_page.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    with open(folder / "targets.yaml", "w") as file:
        yaml.dump(content, file)
    return params.load("mini")


def variants_of(jobs) -> set[str]:
    return {str(names["variant"]) for _, names in jobs if "variant" in names}


def test_peers_run_only_if_they_are_asked_for(given):
    assert variants_of(targets.jobs(given.targets)) == {"test_pacavit"}
    assert variants_of(targets.jobs(given.targets, "peers")) == set(PEERS)
    assert variants_of(targets.jobs(given.targets, "mini_swin")) == {"mini_swin"}
    assert variants_of(targets.optional_jobs(given.targets)) == set(PEERS)
    aggregated = targets.aggregated("claims", "mini", given.targets).values()
    assert variants_of((None, names) for files in aggregated for names, _ in files) == {"test_pacavit"}


def test_without_a_head_for_it_a_peer_is_not_trained_to_segment(project):
    change(Path("params/mini/targets.yaml"), "heads", ["paca"])
    wanted = params.load("mini").targets
    assert [names for stage, names in targets.jobs(wanted, "main") if stage == "ade20k"]
    assert not [names for stage, names in targets.jobs(wanted, "peers") if stage == "ade20k"]


def test_a_model_without_clusters_has_all_stages_but_those_of_clusters(given):
    ours = {stage for stage, _ in targets.jobs(given.targets, "test_pacavit")}
    plain = {stage for stage, _ in targets.jobs(given.targets, "mini_plain")}
    assert ours - plain == {"clusters", *(f"figures_{task}" for task in ("imagenet", "coco", "ade20k"))}
    assert plain - ours == {f"figures_plain_{task}" for task in ("imagenet", "coco", "ade20k")}
    assert {names["head"] for _, names in targets.jobs(given.targets, "mini_swin") if "head" in names} == {
        "upernet"
    }


def test_every_job_of_the_peers_reads_what_another_makes(given):
    jobs = targets.jobs(given.targets, "peers")
    made = {path for stage, names in jobs for path in targets.outputs(stage, "mini", names).values()}
    for stage, names in jobs:
        read = targets.inputs(stage, "mini", names)
        assert {path for key, path in read.items() if targets.ref(STAGES[stage].inputs[key])} <= made


@pytest.mark.parametrize(
    ("stage", "names", "message"),
    [
        (
            "ade20k",
            {"head": "paca"},
            "mini_swin has no clusters, so the PaCa head is not for it; take upernet, fpn",
        ),
        (
            "clusters",
            {"head": "upernet"},
            "mini_swin has no clusters, and stage clusters is about these alone",
        ),
    ],
)
def test_what_is_of_clusters_is_refused_in_one_line(given, stage, names, message):
    with pytest.raises(PacavitError, match=message):
        models.require(given, [(stage, {"variant": "mini_swin", "seed": 0, **names})])


def test_a_model_without_four_maps_is_refused_before_anything_runs(project):
    given = add(["vit_tiny_patch16_224"])
    assert models.require(given, targets.jobs(given.targets, "peers")) is None
    with pytest.raises(PacavitError, match=r"has maps at strides 16, and none at 4, 8, 32"):
        models.require(given, targets.jobs(given.targets, "added"))


def test_how_a_variant_is_created_is_a_parameter_of_the_jobs_that_make_it(given):
    def keys(stage, variant):
        return models.parameters(given, stage, {"variant": variant, "head": "upernet", "seed": 0})

    assert keys("coco", "mini_swin") == (*STAGES["coco"].params, "targets:models.{variant}")
    for stage, variant in (("coco", "test_pacavit"), ("figures_plain_coco", "mini_swin")):
        assert keys(stage, variant) == STAGES[stage].params


def test_a_users_module_is_an_input_of_the_jobs_of_its_models_alone(project):
    (project / "mine.py").write_text(OWN)
    given = add(["own_resnet", "resnet10t"], imports=["mine"])
    assert [str(path) for path in models.sources(given, "coco", {"variant": "own_resnet"})] == ["mine.py"]
    for stage, variant in (
        ("coco", "resnet10t"),
        ("coco", "test_pacavit"),
        ("figures_plain_coco", "own_resnet"),
    ):
        assert models.sources(given, stage, {"variant": variant}) == []
    before = models.hashes(given, "pretrain", {"variant": "own_resnet"})
    (project / "mine.py").write_text(OWN.replace("(1, 1, 1, 1)", "(1, 1, 2, 1)"))
    assert models.hashes(given, "pretrain", {"variant": "own_resnet"}) != before
    del sys.modules["mine"]


def test_a_plan_of_models_that_are_known_imports_no_torch(given, project):
    models.require(given, targets.jobs(given.targets, "peers"))
    code = (
        "import sys; from pacavit import params; from pacavit.pipeline import models, targets; "
        "given = params.load('mini'); models.require(given, targets.jobs(given.targets, 'peers')); "
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def stages(path) -> dict:
    return YAML(typ="safe").load(path.read_text())["stages"]


def test_dvc_has_the_peers_in_a_file_of_their_own(given, project):
    (project / "src").mkdir()
    dvc.write_yaml("mini", given)
    assert not dvc.optional_path("mini").exists()  # `dvc status` would look at them
    dvc.write_yaml("mini", given, every=True)
    assert not [name for name in stages(dvc.yaml_path("mini")) if "mini_" in name]
    entry = stages(dvc.optional_path("mini"))["pretrain-mini_swin-0"]
    assert entry["cmd"] == "pacavit pretrain mini_swin --seed 0 --scale mini"
    assert entry["wdir"] == "../../.."
    assert {"params/mini/targets.yaml": ["models.mini_swin"]} in entry["params"]
    weights = targets.path("pretrain.weights", "mini", variant="mini_pvt_v2", seed=0)
    weights.parent.mkdir(parents=True)
    weights.touch()
    dvc.write_yaml("mini", given)
    assert all("-mini_pvt_v2-" in name for name in stages(dvc.optional_path("mini")))


def test_dvc_lists_a_variant_of_the_default_run_whose_creation_the_page_states(given, project):
    changed = given.targets.model_copy(update={"variants": ["test_pacavit", "mini_swin"]})
    text = dvc.yaml_text("mini", params.Params(**{**vars(given), "targets": changed}))
    found = YAML(typ="safe").load(text)["stages"]
    assert found["pretrain"]["foreach"] == {"test_pacavit-0": {"variant": "test_pacavit", "seed": 0}}
    assert {"params/mini/targets.yaml": ["models.mini_swin"]} in found["pretrain-mini_swin-0"]["params"]
    names = {"variant": "mini_swin", "seed": 0}
    job = dvc.address(params.Params(**{**vars(given), "targets": changed}), "mini", "pretrain", names)
    assert job == (dvc.yaml_path("mini"), "pretrain-mini_swin-0")
