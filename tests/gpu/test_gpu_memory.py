"""A training whose batch does not fit the GPU's memory."""

import gc

import pytest
import torch
from gpu_trainings import run

from pacavit.errors import PacavitError

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_only")]

LITTLE = 200 << 20
TOO_MUCH = {"image_size": 512, "global_batch": 16, "micro_batch": 16, "epochs": 2}


@pytest.fixture
def little_memory(gpu_only):
    """Let this process have 200 MB of the GPU."""
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + LITTLE) / whole)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("little_memory")
def test_too_large_a_batch_ends_and_leaves_memory_for_a_smaller_one(create_job, record_property):
    with pytest.raises((torch.OutOfMemoryError, PacavitError)) as ended:
        run(create_job, "pretrain", "large", **TOO_MUCH)
    record_property("error", f"{ended.type.__name__}: {' '.join(str(ended.value).split())[:200]}")
    del ended
    gc.collect()
    torch.cuda.empty_cache()
    run(create_job, "pretrain", "small")


@pytest.mark.xfail(strict=True, reason="torch's error comes through as it is", raises=torch.OutOfMemoryError)
@pytest.mark.usefixtures("little_memory")
def test_too_large_a_batch_is_told_in_one_line_with_its_size(create_job):
    with pytest.raises(PacavitError, match=r"micro_batch.*16"):
        run(create_job, "pretrain", "large", **TOO_MUCH)
