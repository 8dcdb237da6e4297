"""The miniature through a real Slurm, job by job."""

import pytest
from small_profile import ON_SLURM, take_profile

from clones import COUNTED, numbers, small_clone, typed
from pacavit import params
from pacavit.pipeline import targets
from pages import change

pytestmark = pytest.mark.slow


def test_the_miniature_measures_on_slurm_what_it_measures_without(cluster, small_run, tmp_path, monkeypatch):
    clone = small_clone(tmp_path / "pro ject")
    take_profile(clone)
    # To Slurm, all heads are alike.
    change(clone / "params/mini/targets.yaml", "heads", ["paca"])
    before = cluster.jobs()
    typed(clone, *ON_SLURM)
    monkeypatch.chdir(clone)
    # The repository holds what the others write.
    jobs = [job for job in targets.jobs(params.load("mini").targets) if job[0] not in COUNTED]
    assert len(cluster.jobs().keys() - before.keys()) == len(jobs)
    expected = {path: metrics for path, metrics in small_run.numbers.items() if "/upernet/" not in path}
    assert len(expected) == 3
    assert numbers(clone) == expected
    assert (clone / "reports/mini/index.html").exists()
    assert "Nothing to be done" in typed(clone, *ON_SLURM).stderr
