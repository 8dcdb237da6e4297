"""What stands beside the numbers of an evaluation."""

import pytest

from jobs import describe
from pacavit import params
from pacavit.data.manifest import write_manifest
from pacavit.evaluation.metrics import origin
from pacavit.files import MANIFEST, sha256


@pytest.fixture
def job(project, tmp_path):
    """A job on a prepared folder and a file of weights."""
    data, weights = tmp_path / "data", tmp_path / "weights"
    data.mkdir()
    write_manifest(data, "imagenet", ["a", "b"], {"train": 2, "val": 1}, {})
    weights.write_bytes(b"weights")
    return describe(
        "evaluate_imagenet",
        params.load("mini"),
        names={"variant": "test_pacavit", "seed": 3},
        inputs={"data": data, "weights": weights},
    )


def test_numbers_name_the_data_and_the_weights_that_they_were_measured_on(job):
    found = origin(job)
    assert found["data"] == sha256(job.inputs["data"] / MANIFEST)
    assert found["weights"] == sha256(job.inputs["weights"])
    assert (found["seed"], found["scale"], found["official"]) == (3, "mini", False)
    assert found["command"] == "pacavit evaluate imagenet test_pacavit --seed 3 --scale mini"
    assert found["function"] == "pacavit.evaluation.imagenet:evaluate"
    assert found["parameters"] == job.values
