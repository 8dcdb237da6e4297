"""What this machine lacks for a target, told in seconds, before anything is spent. Nothing is written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pacavit import params
from pacavit.data.registry import DATASETS
from pacavit.errors import PacavitError
from pacavit.pipeline import dvc, models, sources, targets
from pacavit.pipeline.table import Names
from pacavit.planning import amounts
from pacavit.planning.costs import data_cost
from pacavit.tracking import address, git_commit

State = Literal["ok", "note", "mend"]
#: GB that weights and training states of one training take at most; `pacavit plan` counts them.
_TRAINING_DISK = 2.0


@dataclass(frozen=True)
class Finding:
    """One check: ``ok``; ``note``, which a run survives; or ``mend``, with what to do."""

    state: State
    name: str
    text: str


def check(scale: str, target: str, profile: str | None = None) -> list[Finding]:
    """Return what each check found; without valid parameters there are no others.

    Args:
        scale: folder below ``params/``.
        target: as of :func:`pacavit.pipeline.targets.jobs`.
        profile: of Snakemake; one other than None looks for Slurm instead of GPUs.
    """
    try:
        given = params.load(scale)
        jobs = targets.jobs(given.targets, target)
        models.require(given, jobs)
    except PacavitError as error:
        return [Finding("mend", "parameters", str(error))]
    found = [Finding("ok", "parameters", f"params/{scale}: {len(jobs)} jobs for {target}")]
    wanted = {stage for stage, _ in jobs}
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _archives(scale, given, wanted),
        lambda: _disk(scale, given, target, jobs),
        lambda: _slurm(scale, given) if profile else _gpus(scale, given),
        _mlflow,
        _git,
    ]
    return [*found, *(finding for each in checks for finding in each())]


def _archives(scale: str, given: params.Params, wanted: set[str]) -> Iterator[Finding]:
    for dataset, info in DATASETS.items():
        if f"archives_{dataset}" not in wanted:
            continue
        source = getattr(given.data, dataset).archives
        if targets.path(f"prepare_{dataset}.data", scale).is_dir():
            yield Finding("ok", dataset, "prepared already")
        elif source.kind == "own":
            yield _own(scale, dataset, Path(source.directory), source.verify)
        elif source.kind == "folder":
            yield _folder(scale, dataset, sources.files_of(f"archives_{dataset}", given, {}))
        elif (
            source.kind == "download"
            and any(f.url is None for f in info.files.values())
            and not source.mirror
        ):
            yield Finding("mend", dataset, f"asks for an account: {info.home}; fetch it, and set kind: own")
        else:
            yield Finding("ok", dataset, f"starts from {source.kind}")


def _own(scale: str, dataset: str, folder: Path, verify: str) -> Finding:
    for file in DATASETS[dataset].files.values():
        path = folder / file.name
        if not path.is_file():
            return Finding(
                "mend", dataset, f"{path} is missing; fetch it, or set directory in params/{scale}/data.yaml"
            )
        if verify != "nothing" and file.size is not None and path.stat().st_size != file.size:
            return Finding(
                "mend",
                dataset,
                f"{path} has {path.stat().st_size:,} bytes, not {file.size:,}; fetch it again",
            )
    return Finding("ok", dataset, f"all archives are in {folder}")


def _folder(scale: str, dataset: str, paths: list[Path]) -> Finding:
    for path in paths:
        if not path.exists():
            return Finding("mend", dataset, f"{path}: no such file or folder; mend params/{scale}/data.yaml")
    return Finding("ok", dataset, f"starts from {', '.join(map(str, paths))}")


def _disk(scale: str, given: params.Params, target: str, jobs: list[tuple[str, Names]]) -> Iterator[Finding]:
    try:
        there = amounts.found(scale, given, target)
    except PacavitError as error:
        yield Finding("mend", "disk", f"what the data need is unknown: {error}")
        return
    missing = [
        (stage, names)
        for stage, names in jobs
        if not all(path.exists() for path in targets.outputs(stage, scale, names).values())
    ]
    prepared = {f"archives_{d}" for d in DATASETS if (f"prepare_{d}", {}) not in missing}
    data = sum(
        data_cost(given, stage, names, there).disk
        for stage, names in missing
        if stage.startswith(("archives_", "prepare_")) and stage not in prepared
    )
    trainings = sum(_TRAINING_DISK for stage, _ in missing if stage in ("pretrain", "coco", "ade20k"))
    for name, needed in (("data", data), ("checkpoints", trainings / 2), ("work", trainings / 2)):
        existing = Path(name) if Path(name).exists() else Path()
        free = shutil.disk_usage(existing).free / 1e9
        text = f"{name}/ needs up to {needed:,.1f} GB, and {free:,.0f} GB are free"
        if free < needed:
            link = f"let {name}/ be a link to a larger disk"
            if name != "work":  # where DVC keeps nothing
                link += ", which DVC takes after `dvc config --local core.no_scm true`"
            yield Finding("mend", "disk", f"{text}; free space, or {link}")
        else:
            yield Finding("ok", "disk", text)


def _is_for_cpu(given: params.Params) -> bool:
    return given.plan.processor.startswith("cpu")


def _gpus(scale: str, given: params.Params) -> Iterator[Finding]:
    import torch

    count = torch.cuda.device_count()
    if count:
        names = {torch.cuda.get_device_name(i) for i in range(count)}
        yield Finding("ok", "gpus", f"{count} × {', '.join(sorted(names))}, torch {torch.__version__}")
    elif _is_for_cpu(given):
        yield Finding("ok", "gpus", f"none, and params/{scale}/plan.yaml plans without")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "mend",
            "gpus",
            f"there is a driver, but torch {torch.__version__} sees no GPU; install torch's CUDA build",
        )
    else:
        text = f"use a machine with GPUs, a cluster with --profile slurm, or processor: cpu in params/{scale}/plan.yaml"
        yield Finding("mend", "gpus", f"none here; {text}")


def _slurm(scale: str, given: params.Params) -> Iterator[Finding]:
    missing = [name for name in ("sbatch", "squeue", "sinfo") if shutil.which(name) is None]
    if missing:
        yield Finding(
            "mend", "slurm", f"{', '.join(missing)} not on PATH; log in to the cluster's login node"
        )
        return
    # Slurm is where PATH says, and nothing of the command comes from outside.
    result = subprocess.run(
        ["sinfo", "-h", "-o", "%P %G"], capture_output=True, text=True, timeout=30, check=False
    )
    if result.returncode:
        yield Finding("mend", "slurm", f"sinfo fails: {result.stderr.strip()}; ask the cluster's keepers")
        return
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    with_gpus = sorted({line[0].rstrip("*") for line in lines if len(line) > 1 and "gpu" in line[1]})
    text = f"partitions with GPUs: {', '.join(with_gpus) or 'none'}"
    if not with_gpus and _is_for_cpu(given):
        text += f", and params/{scale}/plan.yaml plans without"
    yield Finding("ok" if with_gpus or _is_for_cpu(given) else "mend", "slurm", text)


def _mlflow() -> Iterator[Finding]:
    state, text = address.check()
    yield Finding(state, "mlflow", text)


def _git() -> Iterator[Finding]:
    commit = git_commit() or ""
    if commit.endswith("-dirty"):
        yield Finding("note", "git", f"{commit}: commit your changes, so that each number can be traced")
    elif len(commit) == 40:
        yield Finding("ok", "git", commit)
    else:
        yield Finding("note", "git", "no commit known; numbers cannot be traced to one")
    if (reason := dvc.why_not()) is not None:
        yield Finding("note", "dvc", f"versions no data and weights here: {reason}")
