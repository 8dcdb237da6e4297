"""The miniature through a real Slurm, job by job."""

import pytest
from small_profile import ON_SLURM, take_profile

from clones import COUNTED, numbers, small_clone, typed
from pacavit import params
from pacavit.pipeline import targets

pytestmark = pytest.mark.slow


def test_the_miniature_measures_on_slurm_what_it_measures_without(cluster, small_run, tmp_path, monkeypatch):
    clone = small_clone(tmp_path / "pro ject")
    take_profile(clone)
    before = cluster.jobs()
    typed(clone, *ON_SLURM)
    monkeypatch.chdir(clone)
    # The repository holds what the others write.
    jobs = [job for job in targets.jobs(params.load("mini").targets) if job[0] not in COUNTED]
    assert len(cluster.jobs().keys() - before.keys()) == len(jobs)
    assert numbers(clone) == small_run.numbers
    assert (clone / "reports/mini/index.html").exists()
    assert "Nothing to be done" in typed(clone, *ON_SLURM).stderr
