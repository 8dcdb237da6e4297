"""The tests' Slurm takes the place of what a killed session left, and of no cluster's."""

import cluster as slurm
import pytest

pytestmark = pytest.mark.slow


def test_a_configuration_of_the_tests_is_no_reason_to_leave_them_out(cluster):
    assert slurm.CONFIGURATION.exists()
    assert slurm.why_not() is None


def test_a_configuration_of_a_cluster_is(cluster, monkeypatch, tmp_path):
    configuration = tmp_path / "slurm.conf"
    configuration.write_text("ClusterName=theirs\n")
    monkeypatch.setattr(slurm, "CONFIGURATION", configuration)
    assert f"{configuration} exists: this machine belongs to a cluster" in slurm.why_not()
