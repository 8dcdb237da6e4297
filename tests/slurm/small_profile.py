"""What ``--profile slurm`` is told of a cluster of two small nodes, in the place where a user would tell it."""

import shutil
from pathlib import Path

_FOLDER = "small"

#: What a user types to run on it.
ON_SLURM = ("snakemake", "--cores", "all", "--profile", "slurm", "--workflow-profile", _FOLDER)


def take_profile(clone: Path) -> None:
    """Put the profile into a clone."""
    (clone / _FOLDER).mkdir()
    shutil.copy(Path(__file__).with_name("small_machine.yaml"), clone / _FOLDER / "config.yaml")
