"""Parameters are checked before anything runs, and every mistake is one line."""

import re

import pytest

from pacavit import params, paths
from pacavit.errors import PacavitError


def edit(page: str, old: str, new: str) -> None:
    """Replace a piece of a page, in which ``#`` stands for any number."""
    source = paths.path(paths.PARAMS, scale="mini", page=page)
    pattern = re.escape(old).replace(r"\#", r"\d+")
    text, count = re.subn(pattern, lambda _: new, source.read_text(), count=1)
    assert count, f"{source} no longer holds {old!r}"
    source.write_text(text)


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_the_pages_of_each_scale_are_valid(project, scale):
    loaded = params.load(scale)
    assert set(loaded.targets.variants) <= set(loaded.pretrain.variants)


@pytest.mark.parametrize(
    ("page", "old", "new", "message"),
    [
        (
            "targets",
            "seeds:",
            "seed:",
            r"targets\.yaml: seeds: missing.*seed: unknown key; did you mean 'seeds'",
        ),
        ("targets", "[0]", "[zero]", r"targets\.yaml: seeds\.0: .*valid integer, found 'zero'"),
        ("targets", "[0]", "[-1]", r"seeds\.0: .*greater than or equal to 0, found -1"),
        ("targets", "paca,", "pacha,", r"heads\.0: .*'paca', 'upernet' or 'fpn', found 'pacha'"),
        ("ade20k", "0.0, upernet: 0.0", "0.0", r"test_pacavit\.drop_path has no 'upernet', which targets"),
        (
            "ade20k",
            "upernet: 0.0",
            "uppernet: 0.0",
            r"drop_path\.uppernet\.\[key\]: .*'paca', 'upernet' or 'fpn'",
        ),
        ("targets", "[test_pacavit]", '["a; rm -rf b"]', r"variants\.0: .*pattern"),
        (
            "targets",
            "[test_pacavit]",
            "[test_pacavit, pacavit_huge]",
            r"variants has no 'pacavit_huge', which targets",
        ),
        (
            "targets",
            "main: [test_pacavit]",
            "main: [pacavit_huge]",
            r"pretrain\.yaml: variants has no 'pacavit_huge', which targets",
        ),
        (
            "targets",
            "groups:",
            "only: {upernet: [swin]}\ngroups:",
            r"only\.upernet: 'swin' is not one of the variants, nor in a group; add it there",
        ),
        (
            "targets",
            "models:",
            "models:\n  swin: {}",
            r"models: 'swin' is not one of the variants, nor in a group; add it there",
        ),
        (
            "targets",
            "models:",
            "models:\n  test_pacavit: {kwargs: {num_classes: 2}}",
            r"models\.test_pacavit: .*kwargs\.num_classes: is set by the recipes or the pipeline",
        ),
        (
            "targets",
            "models:",
            "models:\n  test_pacavit: {model: hf-hub:timm/resnet50}",
            r"models\.test_pacavit\.model: .*pattern",
        ),
        (
            "targets",
            "variants: [test_pacavit]\nheads: [paca, upernet]",
            "variants: [mini_swin]\nheads: [paca]",
            r"heads: \['paca'\] has none for 'mini_swin', which has no clusters",
        ),
        (
            "targets",
            "[paca, upernet]",
            "[paca, upernet, fpn]",
            r"ade20k\.yaml: heads has no 'fpn', which targets",
        ),
        (
            "ade20k",
            "num_clusters: [16, 16, 16, 0], ",
            "",
            r"ade20k\.yaml: variants\.test_pacavit\.num_clusters: missing; add it",
        ),
        (
            "ade20k",
            "mini_swin: {",
            "mini_swin: {num_clusters: [4, 4, 4, 0], ",
            r"variants\.mini_swin\.num_clusters: mini_swin has no clusters; remove it",
        ),
        ("targets", "[0]", "[0, 0]", r"seeds: \[0, 0\] names one twice"),
        ("targets", "[test_pacavit]", "[test_pacavit", r"targets\.yaml: not valid YAML"),
        (
            "ade20k",
            "warmup_updates: #",
            "warmup_updates: 5000",
            r"recipe: .*warmup_updates 5000 must be fewer than",
        ),
        (
            "pretrain",
            "warmup_epochs: #",
            "warmup_epochs: 99",
            r"recipe: .*warmup_epochs 99 must be fewer than epochs",
        ),
        (
            "coco",
            "pretrained_weights: kept",
            "pretrained_weights: gone",
            r"recipe\.pretrained_weights: .*'kept' or 'lost', found 'gone'",
        ),
        ("evaluate", "batch_size: #", "batch_size: 64\n  batch_size: 8", r"not valid YAML.*duplicate key"),
        ("evaluate", "workers: #", "wrokers: 0", r"imagenet\.wrokers: unknown key; did you mean 'workers'"),
        (
            "evaluate",
            "batch_size: #",
            "batch_size: 0",
            r"imagenet\.batch_size: .*greater than or equal to 1",
        ),
        ("evaluate", "untrained: true", "untrained: maybe", r"untrained: .*valid boolean, found 'maybe'"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_cure(project, page, old, new, message):
    edit(page, old, new)
    with pytest.raises(PacavitError, match=message) as caught:
        params.load("mini")
    assert "\n" not in str(caught.value)


def test_a_missing_page_or_scale_is_named(project):
    with pytest.raises(PacavitError, match=r"params/huge: no such scale; choose one of .*mini, paper"):
        params.load("huge")
    paths.path(paths.PARAMS, scale="mini", page="coco").unlink()
    with pytest.raises(PacavitError, match=r"params/mini/coco\.yaml: missing; restore it"):
        params.load("mini")


@pytest.mark.parametrize(
    "bomb",
    [
        "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]),
        "\n".join(
            ["a0: &a0 {b: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], c: 1}}" for i in range(1, 60))]
        ),
        "variants: &a [*a]",
    ],
    ids=["sequences", "merges", "one that holds itself"],
)
def test_a_page_that_its_aliases_blow_up_is_refused(project, bomb):
    paths.path(paths.PARAMS, scale="mini", page="targets").write_text(bomb)
    with pytest.raises(PacavitError, match=r"targets\.yaml: its aliases stand for too many values"):
        params.load("mini")


def test_an_alias_may_spare_words(project):
    edit("targets", "variants: [test_pacavit]", "variants: &all [test_pacavit]")
    edit("targets", "main: [test_pacavit]", "main: *all")
    assert params.load("mini").targets.groups["main"] == ["test_pacavit"]


def test_a_page_that_is_nested_without_end_is_refused(project):
    paths.path(paths.PARAMS, scale="mini", page="targets").write_text("[" * 2000)
    with pytest.raises(PacavitError, match=r"targets\.yaml: not valid YAML"):
        params.load("mini")


def test_no_yaml_tag_makes_an_object(project):
    paths.path(paths.PARAMS, scale="mini", page="targets").write_text(
        "variants: !!python/object/apply:os.system ['touch made']"
    )
    with pytest.raises(PacavitError, match=r"targets\.yaml: not valid YAML"):
        params.load("mini")
    assert not (project / "made").exists()


def test_a_password_in_a_page_is_refused_and_not_repeated(project):
    address = "https://me:hunter2@host/"
    edit("data", "kind: digits", f"kind: download\n    directory: d\n    mirror: {address}")
    with pytest.raises(
        PacavitError, match=r"data\.yaml: .*mirror: .*pattern.*found 'https://host/'"
    ) as caught:
        params.load("mini")
    assert "hunter2" not in str(caught.value)


def test_yaml_numbers_are_read_as_dvc_reads_them(project):
    edit("evaluate", "batch_size: #", "batch_size: 1e2")
    with pytest.raises(PacavitError, match=r"found 100\.0"):
        params.load("mini")


def test_select_gives_exactly_the_values_under_a_key(project):
    loaded = params.load("mini")
    chosen = params.select(
        loaded, ("evaluate:imagenet", "pretrain:variants.{variant}"), variant="test_pacavit"
    )
    assert set(chosen) == {"evaluate:imagenet", "pretrain:variants.test_pacavit"}
    assert chosen["evaluate:imagenet"]["batch_size"] == loaded.evaluate.imagenet.batch_size
    with pytest.raises(PacavitError, match="has no 'unknown' under variants"):
        params.select(loaded, ("pretrain:variants.{variant}",), variant="unknown")
