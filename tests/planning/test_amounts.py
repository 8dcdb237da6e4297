"""How much the data are: counted where they are, official where they are not."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from jobs import with_archives, with_data
from pacavit import params
from pacavit.cli import cli
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.files import write_json
from pacavit.planning import amounts
from pacavit.planning.preflight import check

SIZE = 1000


def images(folder: str, number: int, suffix: str = ".jpg") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Path(folder, f"{i}{suffix}").write_bytes(bytes(SIZE))


def amount(dataset: str, source: dict) -> amounts.Amount:
    given = with_archives(params.load("mini"), dataset, source)
    given = with_data(given, dataset, "prepare", prepare(given, dataset))
    return amounts.found("mini", given)[dataset]


def prepare(given: params.Params, dataset: str) -> dict:
    return getattr(given.data, dataset).prepare.model_dump()


def test_without_data_of_ones_own_the_official_numbers_count(project):
    found = amounts.found("paper", params.load("paper"))
    assert found == amounts.stated(params.load("paper"))
    for dataset, info in DATASETS.items():
        assert found[dataset].images == info.counts
    drawn = params.load("mini").data.coco.archives
    assert amounts.found("mini", params.load("mini"))["coco"].images == {
        "train": drawn.train_images,
        "val": drawn.val_images,
    }


@pytest.mark.parametrize("suffix", [".jpg", ".PNG", ".webp", ".JPEG", ".tga", ".jfif", ".avif"])
def test_images_in_class_folders_are_counted(project, suffix):
    for split, number in (("train", 3), ("val", 2)):
        for name in ("dog", "a cat"):
            images(f"photos/{split}/{name}", number, suffix)
        images(f"photos/{split}/dog/__MACOSX", 1, suffix)
    Path("photos/train/dog/notes.txt").write_text("text")
    found = amount("imagenet", {"kind": "folder", "directory": "photos"})
    assert found.images == {"train": 6, "val": 4}
    assert found.gigabytes == pytest.approx(10 * SIZE / 1e9, rel=0.01)
    assert found.source == "photos"


def test_a_folder_that_is_to_be_split_is_shared_out(project):
    for name, number in (("dog", 7), ("cat", 7), ("bird", 2)):
        images(f"photos/{name}", number)
    found = amount("imagenet", {"kind": "folder", "directory": "photos", "val_fraction": 0.2})
    assert found.images == {"train": 13, "val": 3}  # of each class one at least


def test_images_of_coco_are_those_of_its_annotations(project):
    source = {"kind": "folder"}
    for split, number in (("train", 3), ("val", 1)):
        images(f"street/{split}", number + 2)
        listed = {"images": [{"file_name": f"{i}.jpg"} for i in range(number)]}
        Path(f"street/{split}.json").write_text(json.dumps(listed), encoding="utf-8-sig")
        source[split] = {"images": f"street/{split}", "annotations": f"street/{split}.json"}
    assert amount("coco", source).images == {"train": 3, "val": 1}
    Path("street/val.json").write_text("[]")
    with pytest.raises(PacavitError, match=r"street/val\.json: not COCO's JSON"):
        amount("coco", source)


@pytest.mark.parametrize("labels", ["city/{}_labels", "city/{}/labels"])
def test_images_with_label_maps_are_counted_without_the_maps(project, labels):
    source = {"kind": "folder", "classes": ["sky"]}
    for split, number in (("train", 3), ("val", 2)):
        images(f"city/{split}/a", number)
        images(labels.format(split), number, ".png")
        source[split] = {"images": f"city/{split}", "labels": labels.format(split)}
    assert amount("ade20k", source).images == {"train": 3, "val": 2}


def test_a_part_of_the_official_archives_is_counted(project):
    Path("archives").mkdir()
    for file in DATASETS["coco"].files.values():
        with zipfile.ZipFile(Path("archives", file.name), "w") as archive:
            for i in range(4 if "train" in file.name else 2):
                archive.writestr(f"{Path(file.name).stem}/{i}.jpg", bytes(SIZE))
    source = {"kind": "own", "directory": "archives", "verify": "nothing"}
    assert amount("coco", source).images == {"train": 4, "val": 2}


def test_prepared_data_are_counted_by_their_manifest_though_the_source_is_gone(project):
    write_json(Path("data/mini/imagenet/manifest.json"), {"counts": {"train": 50_000, "val": 10_000}})
    found = amount("imagenet", {"kind": "folder", "directory": "photos"})
    assert found.images == {"train": 50_000, "val": 10_000}


def test_a_damaged_manifest_does_not_count(project):
    Path("data/mini/coco").mkdir(parents=True)
    Path("data/mini/coco/manifest.json").write_text("{}")
    assert amounts.found("mini", params.load("mini"))["coco"] == amounts.stated(params.load("mini"))["coco"]


def test_a_folder_that_is_missing_is_named(project):
    with pytest.raises(
        PacavitError, match=r"params/mini/data\.yaml: imagenet: photos: no such file or folder"
    ):
        amount("imagenet", {"kind": "folder", "directory": "photos"})


@pytest.fixture
def mine(project):
    """A scale `mine` of the paper's recipes that classifies a hundred images in folders."""
    shutil.copytree("params/paper", "params/mine")
    images("photos/train/dog", 40)
    images("photos/train/cat", 40)
    images("photos/val/dog", 10)
    images("photos/val/cat", 10)
    page = Path("params/mine/data.yaml")
    content = YAML().load(page)
    content["imagenet"]["archives"] = {"kind": "folder", "directory": "photos"}
    content["imagenet"]["prepare"]["complete"] = False
    YAML().dump(content, page)
    return page


def states(scale: str, target: str) -> dict[str, tuple[str, str]]:
    return {
        f.name if f.name != "disk" else f.text.split("/")[0]: (f.state, f.text) for f in check(scale, target)
    }


def test_plan_and_preflight_go_by_the_images_that_are_there(mine):
    result = CliRunner().invoke(cli, ["plan", "only_imagenet", "--scale", "mine", "--json"])
    rows = {row["stage"]: row for row in json.loads(result.output)["stages"]}
    assert rows["prepare_imagenet"]["disk"] < 0.001
    assert "20 images" in rows["evaluate_imagenet"]["from"]
    assert states("mine", "only_imagenet")["data"][1].startswith("data/ needs up to 0.0 GB")
    assert states("mine", "only_imagenet")["imagenet"] == ("ok", "starts from photos")


def test_what_is_prepared_or_trained_needs_no_more_room(mine):
    before = states("mine", "only_imagenet")["checkpoints"][1]
    write_json(Path("data/mine/imagenet/manifest.json"), {"counts": {"train": 80, "val": 20}})
    shutil.rmtree("photos")
    for variant in params.load("mine").targets.variants:
        for path in (
            f"checkpoints/mine/pretrain/{variant}/seed42.safetensors",
            f"reports/mine/curves/pretrain/{variant}/seed42.csv",
        ):
            Path(path).parent.mkdir(parents=True)
            Path(path).touch()
    assert states("mine", "only_imagenet")["data"][1].startswith("data/ needs up to 0.0 GB")
    after = states("mine", "only_imagenet")["checkpoints"][1]
    assert after != before
    assert after.startswith("checkpoints/ needs up to 0.0 GB")


def test_a_source_that_is_missing_is_to_be_mended(mine):
    shutil.rmtree("photos")
    found = states("mine", "only_imagenet")
    assert found["imagenet"] == ("mend", "photos: no such file or folder; mend params/mine/data.yaml")
