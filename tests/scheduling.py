"""Which tests one process runs when several share them."""

from xdist.scheduler import LoadScopeScheduling

_SMALL_RUN = ("tests/figures/test_report_page.py", "tests/test_end_to_end.py")


def scope(test: str) -> str:
    """Return what a test runs with, by its name: its module, the Slurm of the machine, the run of the small clone."""
    module = test.partition("::")[0]
    if module.startswith("tests/slurm/"):
        return "slurm"
    if module in _SMALL_RUN:
        return "small run"
    # Each of these has a repository of its own.
    return test if module == "tests/workflow/test_properties.py" else module


class Scheduling(LoadScopeScheduling):
    """Hands out tests by :func:`scope`, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
