"""What a training asks of Slurm: a start on every node of its job, where they meet, and how long the job may run on.

Snakemake's executor hides most of a job's variables from what it runs, so that Slurm itself is asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pacavit.errors import PacavitError

#: Seconds that the other nodes have, once one has ended, before Slurm ends them too: enough for an update, a validation
#: and a state, and for the main process's last words to MLflow.
GRACE_SECONDS = 600

# Of the ports that systems leave to programs; the job's number keeps two jobs on one node apart.
_FIRST_PORT, _PORTS = 20000, 10000


@dataclass(frozen=True)
class Node:
    """One node of those that train together.

    Attributes:
        number: its place among them, from 0.
        nodes: how many there are.
        address: where the processes of all nodes meet, on node 0.
        port: the same.
    """

    number: int
    nodes: int
    address: str
    port: int


def start_on_every_node(arguments: Sequence[str]) -> None:
    """Become ``srun`` with one ``pacavit`` a node, where this is a job's script on several nodes; else return.

    Every process of ``srun`` passes here again, as one of several nodes, and returns. ``srun`` ends with the highest
    exit code of the nodes. A node that ends does not end the others at once: when the job is asked to end, all of them
    stop by themselves after the same update, and their exit codes must come through.

    Raises:
        PacavitError: Slurm does not answer, or ``srun`` cannot run.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or "SLURM_STEP_ID" in os.environ:
        return
    answer = _ask("squeue", "--noheader", f"--jobs={job}", "--format=%D").split()
    if len(answer) != 1 or not answer[0].isdecimal():
        raise PacavitError(
            f"squeue says that job {job} has {' and '.join(answer) or 'no'} nodes: expected one number; a job of "
            "several parts (heterogeneous) cannot train, ask for one part"
        )
    nodes = int(answer[0])
    if nodes == 1:
        return
    srun = ("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--cpu-bind=none")
    ending = ("--kill-on-bad-exit=0", f"--wait={GRACE_SECONDS}")
    command = (*srun, *ending, sys.executable, "-m", "pacavit", *arguments)
    try:
        os.execvp("srun", command)
    except OSError as error:
        raise PacavitError(
            f"the Slurm job has {nodes} nodes and srun, which starts the training on each, cannot run "
            f"({error.strerror}); put Slurm's commands on the PATH, or ask for one node"
        ) from error


def this_node() -> Node | None:
    """Return which of several nodes this process was started on by ``srun``, or None for a single one.

    ``MASTER_ADDR`` and ``MASTER_PORT`` say where to meet, if set; else that is Slurm's address of node 0 and a port by
    the job's number.

    Raises:
        PacavitError: Slurm started several processes a node, or does not answer.
    """
    nodes = _number("SLURM_STEP_NUM_NODES")
    if nodes == 1:
        return None
    tasks = _number("SLURM_STEP_NUM_TASKS")
    if tasks != nodes:
        raise PacavitError(
            f"srun started {tasks} tasks on {nodes} nodes: expected one a node, which starts a process for each GPU; "
            "use --ntasks-per-node=1"
        )
    port = _FIRST_PORT + _number("SLURM_JOB_ID") % _PORTS
    return Node(
        number=int(os.environ["SLURM_NODEID"]),
        nodes=nodes,
        address=os.environ.get("MASTER_ADDR") or _address_of_first(os.environ["SLURM_STEP_NODELIST"]),
        port=int(os.environ.get("MASTER_PORT") or port),
    )


def time_left() -> tuple[float, float] | None:
    """Return the seconds that this job may run on, and its whole limit; None outside of jobs and without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    answer = _ask("squeue", "--noheader", f"--jobs={job}", "--format=%L %l").split()
    if len(answer) != 2 or not all(time[0].isdecimal() for time in answer):
        return None
    left, limit = answer
    return _seconds(left), _seconds(limit)


def _seconds(duration: str) -> float:
    """Return what Slurm's ``days-hours:minutes:seconds`` is in seconds, of which the first parts may be missing."""
    days, _, clock = duration.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400 * int(days or 0) + seconds


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 1


def _address_of_first(nodes: str) -> str:
    """Return where Slurm itself reaches the first of some nodes: not every node's name is one that resolves."""
    first = _ask("scontrol", "show", "hostnames", nodes).split()[0]
    found = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "show", "node", first))
    return found[1] if found else first


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PacavitError(
            f"inside a Slurm job, and `{' '.join(command)}` gives no answer ({error}); put Slurm's commands on the "
            "PATH, or unset SLURM_JOB_ID to train without Slurm"
        ) from error
