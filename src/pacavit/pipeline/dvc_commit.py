"""Commits stages to DVC as ``python -m pacavit.pipeline.dvc_commit {relink,no-relink} STAGE…``.

What `dvc commit --force STAGE…` does, but it reads each ``dvc.yaml`` and writes its ``dvc.lock`` once instead of once a
stage.
"""

from __future__ import annotations

import sys
from itertools import groupby
from operator import attrgetter

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo


def commit(addresses: list[str], relink: bool) -> None:
    """Record the present files of stages.

    Args:
        addresses: of the stages, as DVC takes them.
        relink: link the files to DVC's cache afterwards.

    Raises:
        DvcException: a file is missing, another DVC is at work, or a stage is unknown.
    """
    with Repo() as repo, lock_repo(repo):
        stages = [stage for address in addresses for stage in repo.stage.collect(address)]
        for stage in stages:
            stage.save()
            stage.commit(relink=relink)
        files = groupby(sorted(stages, key=attrgetter("path")), key=attrgetter("path"))
        for _, same in files:
            together = list(same)
            together[0].dvcfile.dump_stages(together, update_pipeline=False)


if __name__ == "__main__":
    try:
        commit(sys.argv[2:], sys.argv[1] == "relink")
    except DvcException as error:
        sys.exit(f"ERROR: {error}")
