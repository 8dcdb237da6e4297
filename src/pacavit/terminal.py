"""What `snakemake` tells while it runs: a line when a job begins, one when it ends, and the results.

Trainings add a line a validation by themselves. Snakemake's own words, with the reason of each job, go to its log file.
"""

from __future__ import annotations

import logging
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from pacavit import params, summary
from pacavit.files import json_object
from pacavit.job import title
from pacavit.pipeline import targets
from pacavit.pipeline.table import STAGES
from pacavit.runtime.batch_log import is_progress, span
from pacavit.tracking import INFO

#: Seconds of a job in the miniature, by which the first run guesses; their ratios alone count.
_MINIATURE = {**dict.fromkeys(STAGES, 25), "pretrain": 255, "coco": 260, "ade20k": 370, "clusters": 45}
#: No guess before this share of the work is done.
_ENOUGH = 0.05
#: How many lines of a failed job's log are shown.
_LINES = 10

_SILENT = {LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED, LogEvent.PROGRESS}
#: Words of Snakemake and its executor for Slurm that say nothing to whoever waits for results.
_NOISE = re.compile(
    r"Building DAG|Using shell|Conda environments: ignored|Assuming unrestricted|Select jobs|Updating checkpoint"
    r"|Processed \d+ potential|Complete log|Elapsed time|Shutting down|Exiting because a job|Trying to restart"
    r"|Job rate limit|(Shell command: )?None$|SLURM run ID|Cleaning up SLURM|'sacct' unavailable"
)
_SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)")


@dataclass
class _Begun:
    """A job at work.

    Attributes:
        stage, names: which one.
        at: when it began.
        log: to which it prints.
        old: when an earlier attempt last wrote there.
        read: bytes of it that are told.
    """

    stage: str
    names: Mapping[str, str]
    at: float
    log: Path | None = None
    old: int | None = None
    read: int = 0

    def words(self) -> list[str]:
        """Return the whole lines that are new in its log, without a training's lines of progress."""
        changed = self.log and _changed(self.log)
        if not changed or changed == self.old:
            return []
        new = self.log.read_bytes()[self.read :]
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if not is_progress(line)]

    @property
    def title(self) -> str:
        return title(self.stage, self.names)


class Account:
    """What is told of a run of Snakemake, record by record of its log.

    Args:
        show_logs: whether a failed job's last words are shown.
        clock: gives the time in seconds.
    """

    def __init__(self, show_logs: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._show_logs = show_logs
        self._clock = clock
        self._scale = params.DEFAULT_SCALE
        self._start: float | None = None
        self._to_run: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._begun: dict[int, _Begun] = {}
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._failed: set[int] = set()
        self._nothing = self._trouble = False

    def told(self, record: logging.LogRecord, usual: Callable[[logging.LogRecord], str]) -> str | None:
        """Return what to print of a record, or None.

        Args:
            record: of Snakemake's log.
            usual: gives Snakemake's own words.
        """
        event = getattr(record, "event", None)
        tell = {
            LogEvent.RUN_INFO: self._runs,
            LogEvent.JOB_INFO: self._begins,
            LogEvent.JOB_FINISHED: self._finishes,
            LogEvent.JOB_ERROR: self._fails,
        }.get(event)
        if tell is not None:
            return tell(record)
        if event in _SILENT:
            return None
        if hasattr(record, "pacavit_scale"):
            self._scale = record.pacavit_scale
            return None
        self._trouble |= record.levelno >= logging.ERROR
        return self._words(record, usual(record))

    def heard(self) -> str:
        """Return what the jobs have printed since the last call, without lines of progress."""
        return "\n".join(line for begun in list(self._begun.values()) for line in begun.words())

    def ended(self) -> str | None:
        """Return the results of a run that went well, and where they are."""
        if self._trouble or (self._start is None and not self._nothing):
            return None
        report = targets.path("report.page", self._scale)
        page = f"{report}, " if report.exists() else ""
        where = f"{page}`mlflow ui`, reports/{self._scale}/"
        if self._start is None:
            self._nothing = False
            return f"Results of scale {self._scale}: {where}"
        took, self._start = span(self._clock() - self._start), None
        lines = [f"Done in {took}. Results of scale {self._scale}:", *summary.lines(self._scale)]
        return "\n".join(["", *lines, f"Look next at {where}; Snakemake's log is {_log()}"])

    def _runs(self, record: logging.LogRecord) -> str:
        """Tell what lies ahead."""
        self._start = self._clock()
        self._to_run = Counter({name: n for name, n in record.stats.items() if name in STAGES})
        self._seconds = _earlier(self._scale)
        if self._scale == params.DEFAULT_SCALE and not self._to_run.keys() <= self._seconds.keys():
            self._seconds = dict(_MINIATURE)
        jobs = self._to_run.total()
        return f"Scale {self._scale}: {jobs} jobs to run. Details: {_log()}, and a log a job below logs/{self._scale}/"

    def _begins(self, record: logging.LogRecord) -> str | None:
        if record.rule_name not in STAGES:
            return None
        self._failed.discard(record.jobid)
        begun = _Begun(record.rule_name, dict(record.wildcards), self._clock())
        if record.log:
            begun.log = Path(record.log[0])
            begun.old = _changed(begun.log)
        self._begun[record.jobid] = begun
        return self._stamped(f"begin  {begun.title}")

    def _finishes(self, record: logging.LogRecord) -> str | None:
        begun = self._begun.pop(record.job_id, None)
        if begun is None:
            return None
        took = self._clock() - begun.at
        self._taken[begun.stage].append(took)
        text = f"done   {begun.title} in {span(took)}; {self._done()}"
        left = self._left()
        end = self._stamped(text if left is None else f"{text}, about {_roughly(left)} left")
        return "\n".join([*begun.words(), end])

    def _fails(self, record: logging.LogRecord) -> str:
        self._failed.add(record.jobid)
        begun = self._begun.pop(record.jobid, None)
        if begun is None:
            return self._stamped(f"FAILED {record.rule_name}")
        command = targets.command(begun.stage, self._scale, **begun.names)
        words = last_words(record.log, _LINES) if self._show_logs else []
        said = (record.rule_msg or "").partition("For further error details")[0].strip()
        return "\n".join(
            [
                self._stamped(f"FAILED {begun.title} after {span(self._clock() - begun.at)}"),
                *([f"    {said}"] if said else []),
                *(f"    {line}" for line in words),
                f"    log: {', '.join(record.log)}; this job alone: {command}",
            ]
        )

    def _words(self, record: logging.LogRecord, usual: str) -> str | None:
        """Return what is told of a record that is not of a kind of its own."""
        submitted = _SUBMITTED.match(usual)
        if submitted and int(submitted[1]) in self._begun:
            title = self._begun[int(submitted[1])].title
            return self._stamped(f"queued {title} as Slurm's job {submitted[2]}")
        if usual.startswith("Nothing to be done"):
            self._nothing = True
        if "At least one job did not complete" in usual:
            return (
                f"Not finished: {len(self._failed)} failed, {self._done()}, and these stay done. Mend what is named "
                f"above and type the same again. Details: {_log()}"
            )
        # Snakemake repeats the command of a failed job as an exception.
        return None if "CalledProcessError" in usual or _NOISE.match(usual) else usual

    def _done(self) -> str:
        return f"{sum(map(len, self._taken.values()))} of {self._to_run.total()} jobs done"

    def _left(self) -> float | None:
        """Guess the seconds that are left: as many as were taken, by the share of the work that is done.

        A job's work is the seconds that its stage took in earlier runs, or takes in the miniature.
        """
        seconds = {**{stage: statistics.mean(taken) for stage, taken in self._taken.items()}, **self._seconds}
        if self._start is None or not self._to_run.keys() <= seconds.keys():
            return None
        whole = sum(number * seconds[stage] for stage, number in self._to_run.items())
        done = sum(len(taken) * seconds[stage] for stage, taken in self._taken.items())
        if done < _ENOUGH * whole or done >= whole:
            return None
        now = self._clock()
        pace = sum(map(sum, self._taken.values())) / done
        for begun in self._begun.values():
            done += min(0.9 * seconds[begun.stage], (now - begun.at) / pace if pace else 0)
        return (now - self._start) * (whole - done) / done

    def _stamped(self, text: str) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self._clock()))} {text}"


def _roughly(seconds: float) -> str:
    return span(60 * round(seconds / 60) if seconds > 90 else 10 * max(1, round(seconds / 10)))


def last_words(logs: Iterable[str], most: int) -> list[str]:
    """Return the error in a failed job's logs, in one line if it is one of this project, or the last lines."""
    found: list[str] = []
    for log in logs:
        with suppress(OSError):
            found += Path(log).read_text(errors="replace").splitlines()
    ours = [line for line in found if line.startswith("pacavit: ")]
    return ours[-1:] or found[-most:] or ["(it said nothing: killed, or never begun)"]


def _changed(path: Path) -> int | None:
    """Return when a file was last written, or None."""
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return None


def _earlier(scale: str) -> dict[str, float]:
    """Return the mean seconds of each stage's finished jobs in this folder."""
    found: dict[str, list[float]] = defaultdict(list)
    for path in Path("work").glob(f"*/*/{INFO}"):
        # A job may have removed it since, or a crash have spoiled it.
        with suppress(KeyError, TypeError, OSError):
            info = json_object(path)
            if info["scale"] == scale and info["status"] == "FINISHED":
                found[path.parts[1]].append(info["end"] - info["start"])
    return {stage: statistics.mean(seconds) for stage, seconds in found.items()}


def _log() -> str:
    """Return Snakemake's log file of this run."""
    return str(max(Path(".snakemake/log").glob("*.snakemake.log"), default=".snakemake/log"))
