"""What `snakemake` tells while it runs."""

import json
import logging
import os
import re
import shutil

import pytest

pytest.importorskip("snakemake_interface_logger_plugins")
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import TestLogHandlerBase
from workflow_repository import ROOT

from pacavit import terminal
from pacavit.runtime.batch_log import progress_line
from snakemake_logger_plugin_pacavit import LogHandler

USUAL = DefaultFormatter().format


class TestContract(TestLogHandlerBase):
    """Snakemake's own tests of a plugin."""

    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return None


class Told:
    """An account of a run whose clock a test sets."""

    def __init__(self):
        self.now = 0.0
        self.account = terminal.Account(clock=lambda: self.now)

    def __call__(self, message, level=logging.INFO, **extra):
        record = logging.makeLogRecord(
            {
                "name": "snakemake",
                "levelno": level,
                "levelname": logging.getLevelName(level),
                "msg": message,
                **extra,
            }
        )
        text = self.account.told(record, USUAL)
        return text and re.sub(r"^\d\d:\d\d:\d\d ", "", text)

    def runs(self, **stats):
        return self(
            "Job stats", event=LogEvent.RUN_INFO, stats={**stats, "all": 1, "total": sum(stats.values()) + 1}
        )

    def begins(self, job, rule, **wildcards):
        log = wildcards.pop("log", None)
        logs = [] if log is None else [str(log)]
        return self("", event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, wildcards=wildcards, log=logs)

    def finishes(self, job):
        return self("", event=LogEvent.JOB_FINISHED, job_id=job)

    def fails(self, job, rule, log, message=None):
        return self(
            "Error in rule",
            logging.ERROR,
            event=LogEvent.JOB_ERROR,
            jobid=job,
            rule_name=rule,
            rule_msg=message,
            log=[str(log)],
        )


@pytest.fixture
def told(project):
    """An account of a run in a project where nothing ran before."""
    shutil.copytree(ROOT / "claims", project / "claims")
    return Told()


def test_a_job_begins_and_ends_with_its_time_and_what_is_left(told):
    assert told.runs(pretrain=1, ade20k=2).startswith("Scale mini: 3 jobs to run. Details: .snakemake/log")
    assert (
        told.begins(1, "pretrain", variant="test_pacavit", seed="0") == "begin  pretrain test_pacavit seed 0"
    )
    told.now = 90
    assert told.finishes(1).startswith(
        "done   pretrain test_pacavit seed 0 in 1 min 30 s; 1 of 3 jobs done, about "
    )
    told.begins(2, "ade20k", variant="test_pacavit", head="paca", seed="0")
    begun = told.begins(3, "ade20k", variant="test_pacavit", head="upernet", seed="0")
    assert begun == "begin  ade20k test_pacavit upernet seed 0"
    assert "2 of 3 jobs done" in told.finishes(2)
    assert told.finishes(3) == "done   ade20k test_pacavit upernet seed 0 in 0 s; 3 of 3 jobs done"


def test_rules_that_only_gather_are_not_told(told):
    told.runs(claims=1)
    assert told.begins(0, "all") is None
    assert told.finishes(0) is None


def test_the_guess_goes_by_the_times_of_earlier_runs(told, project):
    for stage, seconds in {"pretrain": 100, "coco": 300}.items():
        folder = project / "work" / stage / "abc"
        folder.mkdir(parents=True)
        info = {"scale": "mini", "status": "FINISHED", "start": 5.0, "end": 5.0 + seconds}
        (folder / "run.json").write_text(json.dumps(info))
        (folder.parent / "torn").mkdir()
        (folder.parent / "torn" / "run.json").write_text('{"scale": "mi')
    told.runs(pretrain=1, coco=1)
    told.begins(1, "pretrain", variant="a", seed="0")
    told.now = 200  # twice as slow as before
    assert told.finishes(1).endswith("about 10 min left")


def test_a_running_job_counts_as_far_as_it_should_be(told):
    told.runs(ade20k=2)
    told.begins(1, "ade20k", variant="a", head="paca", seed="0")
    told.begins(2, "ade20k", variant="a", head="upernet", seed="0")
    told.now = 100
    assert told.finishes(1).endswith("about 10 s left")


def test_there_is_no_guess_without_grounds(told):
    told("", pacavit_scale="paper")
    told.runs(pretrain=1, coco=1)
    told.begins(1, "pretrain", variant="a", seed="0")
    told.now = 100
    assert told.finishes(1).endswith("1 of 2 jobs done")


def test_a_failed_job_shows_its_error_its_log_and_what_to_type(told, project):
    log = project / "log"
    log.write_text("much\nTraceback\npacavit: data/mini/coco: missing, and stage coco reads it\n")
    told.runs(coco=1)
    told.begins(1, "coco", variant="test_pacavit", seed="0")
    told.now = 7
    assert told.fails(1, "coco", log).splitlines() == [
        "FAILED coco test_pacavit seed 0 after 7 s",
        "    pacavit: data/mini/coco: missing, and stage coco reads it",
        f"    log: {log}; this job alone: pacavit coco test_pacavit --seed 0 --scale mini",
    ]
    assert told("RuleException:\nCalledProcessError in file", logging.ERROR, event=LogEvent.ERROR) is None
    final = told("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    assert final.startswith("Not finished: 1 failed, 0 of 1 jobs done")
    assert told.account.ended() is None


def test_a_job_that_died_without_a_word_tells_what_the_scheduler_said(told, project):
    told.runs(coco=1)
    told.begins(1, "coco", variant="a", seed="0")
    reason = "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'."
    lines = told.fails(1, "coco", project / "none", f"{reason} For further error details see the cluster log")
    assert lines.splitlines()[1:3] == [f"    {reason}", "    (it said nothing: killed, or never begun)"]


def test_a_traceback_is_cut_to_its_last_lines(project):
    log = project / "log"
    log.write_text("".join(f"{number}\n" for number in range(50)))
    assert terminal.last_words([str(log)], 10) == [str(number) for number in range(40, 50)]


def test_a_retry_that_succeeds_is_no_failure(told, project):
    told.runs(coco=1)
    told.begins(1, "coco", variant="a", seed="0")
    told.fails(1, "coco", project / "none")
    assert told("Trying to restart job 1.") is None
    told.begins(1, "coco", variant="a", seed="0")
    told.finishes(1)
    assert "Results of scale mini" in told.account.ended()


@pytest.mark.parametrize(
    ("message", "level", "kept"),
    [
        ("Building DAG of jobs...", logging.INFO, False),
        ("Unlocked working directory.", logging.INFO, True),
        ("Directory cannot be locked", logging.ERROR, True),
        ("A warning", logging.WARNING, True),
        ("Nothing to be done (all requested files are present and up to date).", logging.INFO, True),
    ],
)
def test_what_one_can_act_on_is_told_in_snakemakes_words(told, message, level, kept):
    assert told(message, level) == (message if kept else None)


def test_nothing_to_do_tells_where_the_results_are_in_a_line(told, project):
    told("Nothing to be done (all requested files are present and up to date).")
    (project / "reports/mini").mkdir(parents=True)
    (project / "reports/mini/index.html").touch()
    assert (
        told.account.ended() == "Results of scale mini: reports/mini/index.html, `mlflow ui`, reports/mini/"
    )


def test_a_job_in_slurms_queue_is_told_by_its_name(told):
    told.runs(coco=1)
    told.begins(4, "coco", variant="a", seed="0")
    message = "Job 4 has been submitted with SLURM jobid 12 (log: /x)."
    assert told(message) == "queued coco a seed 0 as Slurm's job 12"


def test_lines_of_progress_stay_in_the_log(told, project):
    log = project / "log"
    told.runs(coco=1)
    told.begins(4, "coco", variant="a", seed="0", log=log)
    progress = progress_line("coco a seed 0", 1, 2, {"loss": 0.5}, rate=12, left=60)
    log.write_text(f"{progress}\ncoco a seed 0: update 1/2  bbox_AP 0.5\n{progress}\n")
    assert told.account.heard() == "coco a seed 0: update 1/2  bbox_AP 0.5"


def test_a_job_is_heard_through_its_log(told, project):
    log = project / "log"
    log.write_text("of an earlier attempt\n")
    os.utime(log, (1, 1))
    told.runs(coco=1)
    told.begins(4, "coco", variant="a", seed="0", log=log)
    assert told.account.heard() == ""
    log.write_text("coco a seed 0: update 1/2\ncoco a se")
    assert told.account.heard() == "coco a seed 0: update 1/2"
    log.write_text("coco a seed 0: update 1/2\ncoco a seed 0: update 2/2\n")
    assert told.finishes(4).splitlines()[0] == "coco a seed 0: update 2/2"
    told.begins(4, "coco", variant="a", seed="0", log=log)
    assert told.account.heard() == ""


@pytest.mark.slow
def test_a_whole_run_as_one_sees_it(unbuilt):
    printed = unbuilt.run("snakemake", "--cores", "2")
    begun = re.findall(r"^\d\d:\d\d:\d\d begin  (.*)$", printed, re.MULTILINE)
    assert len(begun) == len(set(begun)) == 6 + 14 * 2 + 5
    assert "39 of 39 jobs done" in printed
    assert "reason" not in printed
    assert len(printed.splitlines()) < 2 * 39 + 20
    log = re.search(r"Details: (\S+),", printed)[1]
    assert "reason: Missing output files" in (unbuilt.folder / log).read_text()
    again = unbuilt.run("snakemake", "--cores", "2")
    assert "Nothing to be done" in again
    assert "Results of scale mini: reports/mini/index.html" in again
    assert unbuilt.run("snakemake", "--cores", "2", "--quiet", "all").count("\n") == 1


@pytest.mark.slow
def test_a_run_that_fails_as_one_sees_it(unbuilt, monkeypatch):
    monkeypatch.setenv("FAKE_FAILING_JOB", "prepare_coco")
    printed = unbuilt.run("snakemake", "--cores", "2", "--keep-going", check=False)
    failed = printed[printed.index("FAILED") :].splitlines()
    assert re.fullmatch(r"FAILED prepare coco after \d s", failed[0])
    assert failed[1] == "    pacavit: it fails"
    assert failed[2].endswith(
        "log: logs/mini/prepare_coco.log; this job alone: pacavit prepare coco --scale mini"
    )
    assert "Not finished: 1 failed," in failed[-1]
    assert not {"RuleException:", "Results"} & set(printed.split())
