"""Tests on a GPU; the whole folder is passed over with one line where there is none.

``PACAVIT_TEST_DEVICE=cpu`` tries the tests themselves on a processor, in fp32 where that has nothing lower.
"""

import os

import pytest
import torch

# cuBLAS adds in one order only with this, which it reads when a process first asks for it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# mmdet imports mmcv's operators, so the adapter is put in place before any test module imports mmdet.
import pacavit.openmmlab  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def device() -> torch.device:
    """The GPU."""
    if os.environ.get("PACAVIT_TEST_DEVICE") == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device, which tests/gpu needs")
    return torch.device("cuda")


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
