"""Final weights are models in MLflow, each a version of a registered one, and predict as the weights do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INVALID_PARAMETER_VALUE
from mlflow_helpers import free_port, replayed, serving

from pacavit import tracking
from pacavit.tracking import queue, replay, served

pytestmark = pytest.mark.usefixtures("database")

NAME = "pacavit-mini-pretrain-test_pacavit"
DESCRIPTION = {"task": "classification", "variant": "test_pacavit", "classes": list("abcdefghij")}
#: The writes to MLflow on the way to a registered model, in their order.
WRITES = (
    *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"),
    *("create_registered_model", "create_model_version"),
)
LOAD = """
import sys
import mlflow, numpy as np

images, target = np.load(sys.argv[1]), sys.argv[2]
np.save(target, mlflow.pyfunc.load_model(sys.argv[3]).predict(images))
import pacavit
print(pacavit.__file__)
"""


@pytest.fixture
def weights(work):
    """Random weights of the smallest variant."""
    import timm
    import torch
    from safetensors.torch import save_file

    import pacavit.models  # noqa: F401, registers the variants

    torch.manual_seed(0)
    model = timm.create_model("test_pacavit", num_classes=10)
    path = Path("seed0.safetensors")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


@pytest.fixture
def trained(work, job, weights):
    """Open and close the run of a job that writes the weights."""

    def train(**changed):
        with job(**{"names": {"variant": "test_pacavit", "seed": 0}, **changed}) as run:
            run.model(weights, DESCRIPTION)

    return train


@pytest.fixture
def load(monkeypatch):
    """Load a model as one does in a notebook, and leave MLflow and this process as they were."""
    import mlflow

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it; this puts it back
    mlflow.set_tracking_uri(replay.tracking_uri())
    yield mlflow.pyfunc.load_model
    mlflow.set_tracking_uri(None)


def images(side: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 3, side, side)).astype(np.float32)


def logits(weights: Path, given: np.ndarray) -> np.ndarray:
    """Return what the weights give, in plain torch."""
    import timm
    import torch
    from safetensors.torch import load_file
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    model = timm.create_model("test_pacavit", num_classes=10).eval()
    model.load_state_dict(load_file(weights))
    mean, std = (
        np.array(v, np.float32)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    with torch.inference_mode():
        return model(torch.from_numpy((given / 255 - mean) / std)).numpy()


def versions(client: MlflowClient, name: str = NAME) -> list:
    return client.search_model_versions(f"name = '{name}'")


def numbers(client: MlflowClient) -> list[int]:
    return sorted(int(version.version) for version in versions(client))


def stored(client: MlflowClient, run) -> list:
    """Return all models of a run, unfinished ones too."""
    found = client.search_logged_models([run.info.experiment_id])
    return [model for model in found if model.source_run_id == run.info.run_id]


def test_a_classifier_predicts_the_logits_of_its_weights(work, trained, weights, load):
    trained()
    replayed(work)
    model = load(f"models:/{NAME}/1")
    assert model.predict(images()).dtype == np.float32
    np.testing.assert_allclose(model.predict(images()), logits(weights, images()), atol=1e-5)
    example = model.input_example
    assert example.shape == (1, 3, 64, 64)
    assert model.predict(example).shape == (1, 10)
    with pytest.raises(Exception, match="does not match expected dtype float32"):
        model.predict(images().astype(np.int32))


def test_the_model_is_the_runs_and_its_version_says_whence_it_came(work, trained):
    trained()
    client, run = replayed(work)
    (version,) = versions(client)
    (model,) = stored(client, run)
    assert version.run_id == run.info.run_id
    assert version.tags.items() >= {"stage": "pretrain", "variant": "test_pacavit", "seed": "0"}.items()
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert (model.status, model.model_type) == ("READY", "classification")


def test_nothing_in_the_model_is_pickled_and_nothing_names_this_machine(work, trained):
    trained()
    client, run = replayed(work)
    (model,) = stored(client, run)
    folder = Path(model.artifact_location.removeprefix("file://"))
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert Path("data/seed0.safetensors") in files
    assert {path.suffix for path in files} <= {
        *("", ".safetensors", ".json", ".yaml", ".txt"),
        *(".py", ".html", ".css", ".js"),
    }
    told = [path for path in files if path.suffix != ".safetensors" and path.parts[0] != "code"]
    here = (
        str(Path.home()),
        sys.prefix,
        str(Path().resolve() / "work"),
        str(Path(tracking.__file__).parents[2]),
    )
    assert not [(path, name) for path in told for name in here if name in (folder / path).read_text()]


@pytest.mark.parametrize("note", ["kept", "lost", "torn"])
def test_a_repeated_replay_registers_once(work, trained, note):
    for _ in range(2):
        trained()
        for _ in range(2):
            client, run = replayed(work)
            if note == "lost":
                (work / "synced.json").unlink()
            elif note == "torn":
                (work / "synced.json").write_text("")
    assert numbers(client) == [1]
    assert len(stored(client, run)) == 1


@pytest.mark.parametrize("answered", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("write", WRITES)
def test_a_kill_on_the_way_leaves_one_model_and_one_version(work, trained, monkeypatch, write, answered):
    trained()
    original = getattr(MlflowClient, write)

    def broken(*given, **named):
        if answered:
            original(*given, **named)
        raise ConnectionError("away")

    with monkeypatch.context() as away, pytest.raises(ConnectionError):
        away.setattr(MlflowClient, write, broken)
        replayed(work)
    client, run = replayed(work)
    assert numbers(client) == [1]
    assert [model.status for model in stored(client, run)] == ["READY"]
    assert len(run.outputs.model_outputs) == 1
    assert not (work / "model").exists()


def test_the_state_of_a_job_reaches_mlflow_even_if_its_model_does_not(work, trained, monkeypatch):
    trained()
    with monkeypatch.context() as away, pytest.raises(ConnectionError):
        away.setattr(
            MlflowClient, "create_logged_model", lambda *_, **__: (_ for _ in ()).throw(ConnectionError())
        )
        replayed(work)
    state = json.loads((work / "synced.json").read_text())
    assert replay.open_client().get_run(state["run"]).info.status == "FINISHED"


def test_each_seed_is_a_version_of_the_same_model(work, trained):
    for seed in (0, 1):
        names = {"variant": "test_pacavit", "seed": seed}
        trained(names=names, fingerprint=str(seed), work=work.with_name(str(seed)))
    replay.sync_all()
    found = versions(replay.open_client())
    assert sorted(version.tags["seed"] for version in found) == ["0", "1"]
    assert numbers(replay.open_client()) == [1, 2]


def test_other_weights_of_the_same_run_are_another_version(work, trained, weights):
    trained()
    replayed(work)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    client, _ = replayed(work)
    assert numbers(client) == [1, 2]


def test_weights_that_are_gone_are_passed_over(work, trained, weights):
    trained()
    weights.unlink()
    client, run = replayed(work)
    assert run.info.status == "FINISHED"
    assert versions(client) == stored(client, run) == []


def test_a_scale_with_a_dot_has_a_model_too(work, trained):
    trained(scale="mine.1")
    client, _ = replayed(work)
    assert len(versions(client, "pacavit-mine.1-pretrain-test_pacavit")) == 1


@pytest.mark.slow
def test_torch_is_not_imported_to_hand_a_model_over(work, trained):
    trained()
    code = (
        "import sys; from pathlib import Path; from pacavit.tracking import replay\n"
        f"replay.sync(replay.open_client(), Path('{work}')); print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "False"
    assert len(versions(replay.open_client())) == 1


@pytest.mark.slow
def test_a_model_from_a_server_needs_no_project(work, trained, weights, monkeypatch, tmp_path_factory):
    """The model's own copy of the package serves it, in a folder and a process that know of no other."""
    trained()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    np.save(elsewhere / "images.npy", images())
    with serving("server", free_port()) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for _ in range(2):
            synced = subprocess.run(
                [sys.executable, "-m", "pacavit", "sync"], capture_output=True, text=True, timeout=120
            )
            assert "1 runs are up to date" in synced.stdout, synced.stderr
        assert numbers(MlflowClient(address)) == [1]
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        printed = subprocess.run(
            [sys.executable, "-c", LOAD, "images.npy", "logits.npy", f"models:/{NAME}/1"],
            cwd=elsewhere,
            env=plain,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert printed.returncode == 0, printed.stderr
    assert Path(printed.stdout.splitlines()[-1]).parent.parent.name == "code"
    np.testing.assert_allclose(np.load(elsewhere / "logits.npy"), logits(weights, images()), atol=1e-5)


@pytest.fixture
def handed_over(create_job, database, load):
    """Train for some updates, and return job, model as MLflow has it, and the model's description."""

    def train(finetune, stage, head=None):
        job = create_job(stage, work=f"work/{stage}/f00d", head=head)
        with tracking.start_run(stage, "mini", job.names, {}, "f00d", "code", {}, job.work):
            finetune(job)
        replayed(job.work)
        name = "-".join(["pacavit-mini", stage, "test_pacavit", *([head] if head else [])])
        description = json.loads((job.work / tracking.MODEL).read_text())["description"]
        return job, load(f"models:/{name}/1"), description

    return train


def rgb(sample: dict) -> np.ndarray:
    """Return an image of a data set, which mmengine has as BGR, as a batch of one."""
    return sample["inputs"].numpy()[None, ::-1].astype(np.float32)


def at_its_size(sample: dict) -> dict:
    """Return a sample whose predictions are in the pixels that the model sees, as a batch of one."""
    side = tuple(sample["inputs"].shape[1:])
    sample["data_samples"].set_metainfo({"ori_shape": side, "scale_factor": (1.0, 1.0)})
    return {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}


@pytest.mark.slow
def test_a_detector_predicts_the_boxes_of_its_weights(handed_over):
    import torch

    from pacavit.openmmlab import datasets, models
    from pacavit.training import coco
    from pacavit.weights.fit import load as load_weights

    job, model, description = handed_over(coco.finetune, "coco")
    recipe = job.params.coco.recipe
    dataset = datasets.detection(job.inputs["data"], "val", datasets.detection_testing(recipe))
    classes = dataset.metainfo["classes"]
    encoder = models.backbone("test_pacavit", None, drop_path=0.0)
    plain = models.build(models.mask_rcnn(encoder, len(classes), recipe.detector), "mmdet").eval()
    load_weights(plain, job.outputs["weights"])
    given = dataset[0]
    predicted = model.predict(np.concatenate([rgb(given)] * 2))
    with models.scoped("mmdet"), torch.inference_mode():
        (sample,) = plain.test_step(at_its_size(given))
    found = sample.pred_instances
    assert list(predicted.columns) == ["image", "class", "score", "left", "top", "right", "bottom"]
    assert len(found) > 0
    for number in range(2):
        rows = predicted[predicted.image == number]
        np.testing.assert_allclose(rows.score, found.scores, atol=1e-4)
        np.testing.assert_allclose(rows[["left", "top", "right", "bottom"]], found.bboxes, atol=1e-2)
        assert list(rows["class"]) == [classes[label] for label in found.labels]
    # Nothing found is a table without rows.
    description["config"]["test_cfg"]["rcnn"]["score_thr"] = 2.0
    nothing = served.Detector(job.outputs["weights"], description).predict(rgb(given))
    assert (len(nothing), list(nothing.columns)) == (0, list(predicted.columns))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["paca", "upernet"])
def test_a_segmentor_predicts_the_map_of_its_weights(handed_over, head):
    import torch

    from pacavit.openmmlab import datasets, models
    from pacavit.training import ade20k
    from pacavit.weights.fit import load as load_weights

    job, model, description = handed_over(ade20k.finetune, "ade20k", head)
    pipeline = datasets.segmentation_testing(job.params.ade20k.recipe)
    dataset = datasets.segmentation(job.inputs["data"], "val", pipeline)
    config = models.segmentor(job, len(dataset.metainfo["classes"]), None, "BN")
    plain = models.build(config, "mmseg").eval()
    load_weights(plain, job.outputs["weights"])
    given = dataset[0]
    predicted = model.predict(np.concatenate([rgb(given)] * 2))
    with models.scoped("mmseg"), torch.inference_mode():
        (sample,) = plain.test_step(at_its_size(given))
    assert predicted.dtype == np.int64
    for one in predicted:
        np.testing.assert_array_equal(one, sample.pred_sem_seg.data[0])
    # After so few updates a map may have one class alone, so that its logits tell more.
    (again,) = served.Segmentor(job.outputs["weights"], description).step(rgb(given))
    np.testing.assert_allclose(again.seg_logits.data, sample.seg_logits.data, atol=1e-5)


#: Names of classes as people and their tools write them.
ODD = [
    "tench, Tinca tinca",
    "potter's wheel",
    '"quoted"',
    "$x$",
    "a: b",
    "- a",
    "{a}",
    "a\u2028b",
    " ",
    "\U0001f436",
]


def test_a_model_keeps_the_names_of_its_classes_whatever_they_are(work, job, weights, load):
    with job(names={"variant": "test_pacavit", "seed": 0}) as run:
        run.model(weights, {**DESCRIPTION, "classes": ODD})
    replayed(work)
    model = load(f"models:/{NAME}/1")
    assert model._model_impl.classes == ODD


@pytest.mark.parametrize("scale", ["my.scale-2", "1.5", "a..b", "_", "x" * 180])
def test_a_model_of_every_scale_is_registered(work, job, weights, scale):
    with job(scale=scale, names={"variant": "test_pacavit", "seed": 0}) as run:
        run.model(weights, DESCRIPTION)
    client = replay.open_client()
    replay.sync(client, work)
    assert len(versions(client, f"pacavit-{scale}-pretrain-test_pacavit")) == 1
    assert queue.refusals(work) == {}


@pytest.mark.parametrize("fault", [INVALID_PARAMETER_VALUE, ENDPOINT_NOT_FOUND])
def test_a_model_that_mlflow_does_not_take_holds_up_no_run(work, trained, monkeypatch, fault):
    """As a server before MLflow 3.0, which knows no models of runs."""

    def refuse(*_, **__):
        raise MlflowException("not here", fault)

    trained()
    with monkeypatch.context() as refusing:
        refusing.setattr(MlflowClient, "create_logged_model", refuse)
        _, found = replayed(work)
    assert found.info.status == "FINISHED"
    assert list(queue.refusals(work)) == [f"model {NAME}"]
    assert replay.sync_all() == 1
