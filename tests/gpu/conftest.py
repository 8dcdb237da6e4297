"""Tests on a GPU; the whole folder is passed over with one line where there is none.

``PACAVIT_TEST_DEVICE=cpu`` tries the tests themselves on a processor, in fp32 where that has nothing lower.
``PACAVIT_TEST_OUTCOMES`` names a file that gets a line of JSON as each test ends, with what it measured.
"""

import json
import os
from pathlib import Path

import pytest
import torch

# cuBLAS adds in one order only with this, which it reads when a process first asks for it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# mmdet imports mmcv's operators, so the adapter is put in place before any test module imports mmdet.
import pacavit.openmmlab  # noqa: F401

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there is no GPU, keep one of these tests, which is passed over with a line for all."""
    if _rehearses() or torch.cuda.is_available():
        return
    here = [item for item in items if item.path.is_relative_to(FOLDER)]
    if here:
        reason = f"there is no CUDA device, which the {len(here)} tests of tests/gpu need"
        here[0].add_marker(pytest.mark.skip(reason=reason))
        items[:] = [item for item in items if item is here[0] or not item.path.is_relative_to(FOLDER)]
        config.hook.pytest_deselected(items=here[1:])


def _rehearses() -> bool:
    return os.environ.get("PACAVIT_TEST_DEVICE") == "cpu"


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU."""
    return torch.device("cpu" if _rehearses() else "cuda")


@pytest.fixture(autouse=True)
def _full_precision():
    """Products and convolutions in fp32 without TF32."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    yield
    products.allow_tf32, convolutions.allow_tf32 = before


@pytest.fixture
def gpu_only(device):
    """For what a processor has no likeness of."""
    if device.type != "cuda":
        pytest.skip("asks the driver of a GPU")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what a test found at once, so that nothing is lost if the whole is ended."""
    path = os.environ.get("PACAVIT_TEST_OUTCOMES")
    ended = report.when == "call" or not report.passed
    # The process that collects the others' reports writes them.
    if path is None or not ended or "PYTEST_XDIST_WORKER" in os.environ:
        return
    expected = hasattr(report, "wasxfail") and report.skipped
    line = {
        "test": report.nodeid,
        "outcome": "expected failure" if expected else report.outcome,
        "seconds": round(report.duration, 1),
        "measured": dict(report.user_properties),
        "fault": "" if report.passed else str(report.longrepr)[-600:],
    }
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")
