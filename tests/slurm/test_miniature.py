"""The whole miniature through a real Slurm, job by job."""

import pytest
from small_profile import ON_SLURM, take_profile

from clones import numbers, small_clone, typed

pytestmark = pytest.mark.slow


def test_the_miniature_measures_on_slurm_what_it_measures_without(cluster, small_run, tmp_path):
    clone = small_clone(tmp_path / "pro ject")
    take_profile(clone)
    typed(clone, *ON_SLURM)
    assert len(small_run.numbers) == 4
    assert numbers(clone) == small_run.numbers
    assert (clone / "reports/index.html").exists()
    assert len(cluster.jobs()) >= 20
    assert "Nothing to be done" in typed(clone, *ON_SLURM).stderr
