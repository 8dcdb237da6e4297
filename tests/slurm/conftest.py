"""A real Slurm, started once for all tests of this folder."""

import pytest
from cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two nodes of a Slurm on loopback."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(autouse=True)
def working_nodes(cluster):
    """Both nodes at work and idle, whatever the last test did to them."""
    cluster.revive()
