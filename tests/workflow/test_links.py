"""Folders of outputs that are links to a larger disk."""

import pytest


def link(checkout, *names: str) -> None:
    for name in names:
        target = checkout.folder.parent / "disk" / name
        target.mkdir(parents=True)
        (checkout.folder / name).symlink_to(target)


FOLDERS = ("data", "checkpoints", "predictions", "work", "logs")


def test_git_ignores_a_linked_folder_as_it_does_the_folder(unbuilt):
    link(unbuilt, *FOLDERS)
    assert unbuilt.run("git", "status", "--short") == ""


@pytest.mark.slow
def test_without_git_dvc_takes_outputs_behind_a_link_and_with_it_the_run_says_how(unbuilt):
    link(unbuilt, *FOLDERS)
    printed = unbuilt.run("snakemake", "--cores", "1", "data/mini/coco")
    assert "DVC versions nothing here: data/ is a link out of the Git repository" in printed
    assert not (unbuilt.folder / "dvc.lock").exists()
    unbuilt.run("dvc", "config", "--local", "core.no_scm", "true")
    assert unbuilt.snakemake("data/mini/coco") == set()
    unbuilt.run("dvc", "repro", "prepare_coco")
    assert unbuilt.ran() == ["archives_coco", "prepare_coco"]
