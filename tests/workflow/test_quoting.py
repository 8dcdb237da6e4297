"""What a user types, and where the project lies, never becomes a command."""

import shutil

import pytest

pytestmark = pytest.mark.slow


def test_a_project_in_a_folder_with_every_odd_character_works(copy_unbuilt, tmp_path):
    folder = tmp_path / """it's a; touch made "$(touch made)" & `touch made`"""
    folder.mkdir()
    checkout = copy_unbuilt(folder)
    assert "figures_imagenet@second_pacavit-0" in checkout.snakemake("only_imagenet")
    assert "up to date" in checkout.run("dvc", "status", "figures_imagenet@second_pacavit-0")
    assert not list(tmp_path.rglob("made"))


@pytest.mark.parametrize("scale", ["a; touch made", "it's", "$(touch made)", "../params/mini"])
def test_a_scale_that_is_a_command_is_refused(unbuilt, scale):
    if not scale.startswith(".."):
        shutil.copytree(unbuilt.folder / "params" / "mini", unbuilt.folder / "params" / scale)
    printed = unbuilt.run("snakemake", "--cores", "2", "--config", f"scale={scale}", check=False)
    assert "expected a folder below params/" in printed
    assert "Traceback" not in printed
    assert unbuilt.ran() == []
    assert not list(unbuilt.folder.rglob("made"))


@pytest.mark.parametrize("name", ["a; touch made", "$(touch made)"])
def test_a_variant_that_is_a_command_is_refused(unbuilt, name):
    unbuilt.edit("targets", "[test_pacavit, second_pacavit]", f'[test_pacavit, "{name}"]')
    assert "targets.yaml: variants.1: " in unbuilt.run("snakemake", "--cores", "2", check=False)
    assert unbuilt.ran() == []
    assert not list(unbuilt.folder.rglob("made"))


def test_a_file_whose_name_is_a_command_has_no_rule(unbuilt):
    target = "checkpoints/mini/pretrain/a; touch made/seed0.safetensors"
    assert "MissingRuleException" in unbuilt.run("snakemake", "--cores", "2", target, check=False)
    assert not list(unbuilt.folder.rglob("made"))
