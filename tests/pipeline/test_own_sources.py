"""The user's own files: which they are, and when they count as changed."""

import os
import shutil
from pathlib import Path

import pytest

from jobs import with_archives
from pacavit import params
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.pipeline import dvc, records, sources
from pacavit.pipeline.table import STAGES
from pacavit.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]


def written(path: str, text: str = "text") -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def in_folders(kind: str) -> dict:
    """Return a section of data.yaml that names two folders, or a folder and a file, for each split."""
    return {
        "kind": "folder",
        **{
            split: {"images": f"my photos/{split}", kind: f"my photos/{split}_{kind}"}
            for split in ("train", "val")
        },
    }


#: A source of each kind, and a file of it.
KINDS = {
    "imagenet-folder": ("imagenet", {"kind": "folder", "directory": "photos"}, "photos/train/dog/a.jpg"),
    "imagenet-own": (
        "imagenet",
        {"kind": "own", "directory": "archives", "verify": "size"},
        "archives/ILSVRC2012_img_val.tar",
    ),
    "coco-images": ("coco", in_folders("annotations"), "my photos/val/ä.jpg"),
    "coco-annotations": ("coco", in_folders("annotations"), "my photos/train_annotations"),
    "coco-download": ("coco", {"kind": "download", "directory": "kept"}, "kept/train2017.zip"),
    "ade20k-labels": ("ade20k", {**in_folders("labels"), "classes": ["a"]}, "my photos/val_labels/a/1.png"),
    "ade20k-own": (
        "ade20k",
        {"kind": "own", "directory": "archives", "verify": "hash"},
        "archives/ADEChallengeData2016.zip",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, project):
    """A data set, the parameters by which it comes from files of the user's, and one of the files."""
    dataset, source, file = KINDS[request.param]
    given = with_archives(params.load("mini"), dataset, source)
    for path in sources.files_of(f"archives_{dataset}", given, {}):
        if path.suffix in (".tar", ".gz", ".zip"):
            written(str(path))
    return dataset, given, written(file)


def seen(dataset: str, given: params.Params) -> dict[str, str]:
    return sources.Sources("mini", given).of(f"archives_{dataset}", {})


def test_other_content_is_another_fingerprint(kind):
    dataset, given, file = kind
    before = seen(dataset, given)
    assert seen(dataset, given) == before
    file.write_text("corrected")
    assert seen(dataset, given) != before


def test_a_job_is_to_run_again_if_the_files_changed_and_says_which(kind):
    dataset, given, file = kind

    def status():
        return records.Records("mini", given).status(f"archives_{dataset}", {})

    for path in STAGES[f"archives_{dataset}"].outputs.values():
        written(path.path.format(scale="mini"))
    made = status().made
    records.save(made, {path: records.content.digest(Path(path)) for path in outputs(dataset)})
    assert status().state == "fresh"
    file.write_text("corrected")
    assert (status().state, "has changed" in status().reason) == ("stale", True)
    assert any(status().reason.startswith(name) for name in made.inputs)


def outputs(dataset: str) -> list[str]:
    return [output.path.format(scale="mini") for output in STAGES[f"archives_{dataset}"].outputs.values()]


def test_what_is_gone_counts_as_it_was(kind):
    dataset, given, _ = kind
    stage = f"archives_{dataset}"
    before = seen(dataset, given)
    sources.write("mini", given, sources.Sources("mini", given), [(stage, {})])
    for top in {Path(path).parts[0] for path in before}:
        shutil.rmtree(top)
    assert seen(dataset, given) == before
    for path in before:
        if not Path(path).suffix:
            Path(path).mkdir(parents=True)  # where a disk is not mounted
    assert seen(dataset, given) == before


def test_dvc_has_the_fingerprints_as_a_parameter_and_looks_each_time(kind):
    dataset, given, _ = kind
    text = dvc.YAML(typ="safe").load(dvc.yaml_text("mini", given))["stages"]
    assert text["sources"]["always_changed"]
    assert text["sources"]["cmd"] == "pacavit sources --scale mini"
    assert {"pipelines/mini/sources.json": [dataset]} in text[f"archives_{dataset}"]["params"]


def test_the_miniature_has_no_files_of_the_users(project):
    given = params.load("mini")
    assert "sources" not in dvc.YAML(typ="safe").load(dvc.yaml_text("mini", given))["stages"]
    sources.write("mini", given, sources.Sources("mini", given), [(f"archives_{d}", {}) for d in TASKS])
    assert not sources.file("mini").exists()


@pytest.fixture
def photos(project):
    """A function that returns the fingerprint of a folder of two classes."""
    for name in ("dog/a.jpg", "cat/b.jpg"):
        written(f"photos/{name}")

    def look(directory: str = "photos", **options) -> str:
        source = {"kind": "folder", "directory": directory, "val_fraction": 0.5, **options}
        return seen("imagenet", with_archives(params.load("mini"), "imagenet", source))[directory]

    return look


@pytest.mark.parametrize(
    "change",
    [
        lambda: written("photos/dog/c.jpg"),
        lambda: written("photos/bird/c.jpg"),
        lambda: os.unlink("photos/dog/a.jpg"),
        lambda: os.rename("photos/dog/a.jpg", "photos/cat/a.jpg"),
        lambda: os.rename("photos/dog", "photos/hund"),
        lambda: os.utime("photos/dog/a.jpg", (1, 1)),
        lambda: Path("photos/dog/a.jpg").write_text("tixt"),
        lambda: Path("photos/dog/c.jpg").symlink_to("nowhere"),
    ],
)
def test_a_file_that_is_new_gone_renamed_or_written_is_a_change(photos, change):
    before = photos()
    change()
    assert photos() != before


def test_hidden_files_are_none(photos):
    before = photos()
    for name in (".DS_Store", ".ipynb_checkpoints/a.jpg", "dog/._a.jpg"):
        written(f"photos/{name}")
    assert photos() == before


def test_by_hash_a_touched_file_is_the_same_and_a_corrected_one_another(photos):
    before = photos(compare="hash")
    os.utime("photos/dog/a.jpg", (1, 1))
    assert photos(compare="hash") == before
    Path("photos/dog/a.jpg").write_text("tixt")
    assert photos(compare="hash") != before


def test_files_behind_links_count(photos):
    written("elsewhere/dog/a.jpg")
    Path("linked").mkdir()
    Path("linked/dog").symlink_to(Path("elsewhere/dog").resolve())
    Path("linked/cat").symlink_to(Path("photos/cat").resolve())
    before = photos("linked")
    assert before.startswith("files 2,")
    Path("elsewhere/dog/a.jpg").write_text("corrected")
    assert photos("linked") != before


def test_a_link_to_a_folder_above_ends(photos):
    Path("photos/dog/up").symlink_to("..")
    assert photos().startswith("files 2,")


def test_a_file_that_cannot_be_read_is_named_where_contents_are_compared(photos, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "photos/dog/a.jpg")

    monkeypatch.setattr(sources.content, "hashes_of", refuse)
    with pytest.raises(PacavitError, match=r"photos/dog/a\.jpg: cannot be read \(Permission denied\)"):
        photos(compare="hash")


def test_a_download_counts_when_it_is_there(project):
    given = with_archives(params.load("mini"), "coco", {"kind": "download", "directory": "kept"})
    own = sources.Sources("mini", given)
    assert own.of("archives_coco", {}) == {}
    for file in DATASETS["coco"].files.values():
        written(f"kept/{file.name}")
    assert len(own.of("archives_coco", {})) == 3


def test_the_authors_weights_are_the_file_of_the_job(project):
    shutil.copytree(ROOT / "claims", project / "claims")
    given = params.load("mini")
    names = {"variant": "pacavit_tiny_p2cconv_100_0"}
    (file,) = sources.files_of("released_imagenet", given, names)
    assert sources.Sources("mini", given).of("released_imagenet", names) == {}
    written(str(file))
    before = sources.Sources("mini", given).of("released_imagenet", names)
    written(str(file.with_name("another.pth")))
    assert sources.Sources("mini", given).of("released_imagenet", names) == before
    file.write_text("trained anew")
    assert sources.Sources("mini", given).of("released_imagenet", names) != before


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n{}", "", "[]", '{"coco": 1}'])
def test_a_damaged_list_of_fingerprints_is_one_line(project, text):
    written("pipelines/mini/sources.json", text)
    with pytest.raises(
        PacavitError, match=r"pipelines/mini/sources\.json: .* take one side, or remove the file"
    ):
        sources.Sources("mini", params.load("mini"))


def test_fingerprints_of_what_is_named_no_more_are_dropped(photos, project):
    def write(dataset: str, source: dict) -> None:
        given = with_archives(params.load("mini"), dataset, source)
        sources.write("mini", given, sources.Sources("mini", given), [(f"archives_{dataset}", {})])

    write("imagenet", {"kind": "folder", "directory": "photos", "val_fraction": 0.5})
    assert list(sources.known("mini")["imagenet"]) == ["photos"]
    os.rename("photos", "pictures")
    write("imagenet", {"kind": "folder", "directory": "pictures", "val_fraction": 0.5})
    assert list(sources.known("mini")["imagenet"]) == ["pictures"]
    write("imagenet", {"kind": "digits", "seed": 0, "train_images": 20, "val_images": 10})
    assert not sources.file("mini").exists()
