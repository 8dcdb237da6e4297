"""Nothing that is the user's is removed or replaced, wherever it stands."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from few_pictures import MODULES, hashes

from jobs import describe, with_archives
from pacavit import params
from pacavit.data import sources
from pacavit.data.protection import require_all_apart
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.job import Job
from pacavit.pipeline import dvc, rules
from pages import change


def job_from(dataset: str, **source) -> Job:
    return describe(f"archives_{dataset}", with_archives(params.load("mini"), dataset, source))


def own(dataset: str, folder: str, named: str | None = None) -> Job:
    """Write archives into a folder, and return the job that takes them from there, or from where it is said to."""
    Path(folder).mkdir(parents=True)
    for file in DATASETS[dataset].files.values():
        Path(folder, file.name).write_text(file.name)
    return job_from(dataset, kind="own", directory=named or folder, verify="nothing")


@pytest.mark.parametrize("dataset", MODULES)
@pytest.mark.parametrize("name", ["data/mini/archives/{}", "data/../data/mini/archives/{}", "link to it"])
def test_archives_in_place_are_left_alone(project, dataset, name):
    folder = Path(f"data/mini/archives/{dataset}")
    Path("link to it").symlink_to(folder.absolute())
    job = own(dataset, str(folder), name.format(dataset))
    before = hashes(folder)
    sources.provide(job)
    assert hashes(folder) == before
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_a_link_from_where_archives_go_to_where_they_are_is_followed(project):
    job = own("coco", "mine")
    Path("data/mini/archives").mkdir(parents=True)
    Path("data/mini/archives/coco").symlink_to(Path("mine").resolve())
    before = hashes(Path("mine"))
    sources.provide(job)
    assert hashes(Path("mine")) == before


@pytest.mark.parametrize("linked", [False, True])
def test_own_archives_stay_where_they_are_and_have_a_second_name(project, linked):
    folder = "on disk" if linked else "mine"
    job = own("coco", folder, "mine")
    if linked:  # a folder of relative links to files elsewhere
        Path("mine").mkdir()
        for path in Path(folder).iterdir():
            Path("mine", path.name).symlink_to(Path("..", folder, path.name))
    before = hashes(Path("mine"))
    for _ in range(2):
        sources.provide(job)
        assert hashes(Path("mine")) == hashes(Path("data/mini/archives/coco")) == before


@pytest.mark.parametrize("folder", ["data/mini/archives/coco", "link"])
def test_archives_in_place_are_refused_where_snakemake_would_remove_them(project, folder):
    own("coco", "data/mini/archives/coco")
    Path("link").symlink_to("data/mini/archives/coco")
    given = with_archives(
        params.load("mini"), "coco", {"kind": "own", "directory": folder, "verify": "nothing"}
    )
    with pytest.raises(PacavitError, match=r"coco\.archives\.directory: .*train2017\.zip is where .* writes"):
        require_all_apart("mini", given.data)


def test_neither_snakemake_nor_dvc_begins_with_archives_in_place(project):
    own("coco", "data/mini/archives/coco")
    source = {"kind": "own", "directory": "data/mini/archives/coco", "verify": "nothing"}
    change(Path("params/mini/data.yaml"), "coco.archives", source)
    with pytest.raises(SystemExit, match=r"train2017\.zip is where stage archives_coco writes"):
        rules.begin("mini", SimpleNamespace(is_main_process=False))
    with pytest.raises(PacavitError, match=r"train2017\.zip is where stage archives_coco writes"):
        dvc.write_yaml("mini", params.load("mini"))
    assert not Path("dvc.yaml").exists()


def test_archives_that_were_linked_before_are_not_in_place(project):
    job = own("coco", "mine")
    sources.provide(job)
    given = with_archives(
        params.load("mini"), "coco", {"kind": "own", "directory": "mine", "verify": "nothing"}
    )
    require_all_apart("mini", given.data)
    for path in Path("data/mini/archives/coco").iterdir():  # as on another file system
        path.unlink()
        path.symlink_to(Path("mine", path.name).resolve())
    require_all_apart("mini", given.data)


SOURCES = {
    "imagenet": lambda place: {"directory": place},
    "coco": lambda place: {
        split: {"images": f"{place}/{split}", "annotations": f"{place}/{split}.json"}
        for split in ("train", "val")
    },
    "ade20k": lambda place: {
        "classes": ["a", "b"],
        **{split: {"images": f"{place}/{split}", "labels": f"{place}/labels"} for split in ("train", "val")},
    },
}


@pytest.mark.parametrize("dataset", MODULES)
@pytest.mark.parametrize(
    "place", ["data/mini/{}", "data/mini/{}/below", "./data/mini/../mini/{}", "link", "link/below"]
)
def test_a_source_inside_a_prepared_data_set_is_refused(project, dataset, place):
    folder = Path(f"data/mini/{dataset}/below/train/cat")
    folder.mkdir(parents=True)
    (folder / "cat.jpg").touch()
    os.symlink(f"data/mini/{dataset}", "link")
    job = job_from(dataset, kind="folder", **SOURCES[dataset](place.format(dataset)))
    with pytest.raises(PacavitError, match=rf"{dataset}\.archives\..* is inside data/mini/{dataset}, which"):
        sources.provide(job)
    assert (folder / "cat.jpg").exists()
    assert not Path("data/mini/archives").exists()


def test_a_source_that_the_prepared_folder_is_a_link_to_is_refused(project):
    Path("photos/train/cat").mkdir(parents=True)
    Path("data/mini").mkdir(parents=True)
    Path("data/mini/imagenet").symlink_to(Path("photos").resolve())
    with pytest.raises(PacavitError, match="photos is inside data/mini/imagenet"):
        sources.provide(job_from("imagenet", kind="folder", directory="photos"))


def test_released_weights_inside_a_prepared_data_set_are_refused(project):
    change(Path("params/mini/data.yaml"), "released.directory", "data/mini/coco/released")
    with pytest.raises(PacavitError, match=r"released\.directory: .* is inside data/mini/coco"):
        require_all_apart("mini", params.load("mini").data)


def test_a_source_around_prepared_data_sets_is_refused(project):
    with pytest.raises(PacavitError, match=r"directory: data is around data/.*/imagenet"):
        sources.provide(job_from("imagenet", kind="folder", directory="data"))


def test_where_archives_cannot_go_is_named(project):
    job = own("coco", "mine")
    Path("data/mini").mkdir(parents=True)
    Path("data/mini/archives").touch()
    with pytest.raises(PacavitError, match=r"data/mini/archives/coco/train2017\.zip: cannot be written"):
        sources.provide(job)
