"""Ranks of a training that several processes share, by the variables that ``torchrun`` sets too, and their start."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pacavit.errors import INTERRUPT_EXIT, REQUEUE_EXIT, PacavitError
from pacavit.runtime import slurm
from pacavit.runtime.environment import seconds

if TYPE_CHECKING:
    import torch

#: Forces the number of processes, on a machine without GPUs too.
PROCESSES = "PACAVIT_PROCESSES"
#: Seconds that processes wait for one another before they count as lost.
PATIENCE = "PACAVIT_RANK_TIMEOUT"

# The process that started this one, and the file through which it meets the others.
_LAUNCHER, _STORE = "PACAVIT_LAUNCHER", "PACAVIT_STORE"
# What it passes on to its processes.
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")


def rank() -> int:
    """Return this process's number among all of the training."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this is the process that writes files and reports progress."""
    return rank() == 0


def is_first() -> bool:
    """Return whether this process is alone, or the one that will start the others."""
    return "RANK" not in os.environ and slurm.this_node() is None


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, by rank, in the main one and nothing in the others."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    values: list[Any] | None = [None] * world_size() if is_main() else None
    distributed.gather_object(value, values)
    return values or []


def launch(arguments: Sequence[str]) -> int | None:
    """Run a ``pacavit`` command line again, one process a GPU, if there are several.

    In a Slurm job of several nodes, ``srun`` takes the place of this process and starts the command on each of them,
    all with as many GPUs.

    Returns:
        The exit code of that run, or None where this process is to do the work itself.

    Raises:
        PacavitError: :data:`PROCESSES` is not a positive number, or Slurm is set up otherwise than expected.
    """
    if "RANK" in os.environ:
        if _LAUNCHER in os.environ:
            end_with_the_parent(int(os.environ[_LAUNCHER]))
        return None
    slurm.start_on_every_node(arguments)
    node = slurm.this_node()
    processes = _processes()
    if node is None and processes == 1:
        return None
    return _run_together(processes, arguments, node)


def _run_together(processes: int, arguments: Sequence[str], node: slurm.Node | None) -> int:
    """Start the processes of this machine and return the exit code of the one that failed first.

    On a single machine they meet through a file and talk over the loopback interface alone; ``torchrun`` would listen
    on all of them, and return 1 whatever its processes returned.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes
    from torch.distributed.elastic.multiprocessing.api import SignalException

    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(_SIGNALS)
    with tempfile.TemporaryDirectory(prefix="pacavit-") as folder:
        first, world, meeting = _meeting(processes, folder, node)
        common = meeting | {
            "WORLD_SIZE": str(world),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            # The wrapper of models warns of what wrapper_options wants.
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            _LAUNCHER: str(os.getpid()),
        }
        context = start_processes(
            "pacavit",
            sys.executable,
            args=dict.fromkeys(range(processes), ("-m", "pacavit", *arguments)),
            envs={
                local: {**common, "RANK": str(first + local), "LOCAL_RANK": str(local)}
                for local in range(processes)
            },
            logs_specs=DefaultLogsSpecs(),
        )
        try:
            failures = context.wait().failures.values()
        except SignalException as ended:
            context.close(ended.sigval, slurm.GRACE_SECONDS)
            return INTERRUPT_EXIT if ended.sigval == signal.SIGINT else REQUEUE_EXIT
        if not failures:
            return 0
        code = min(failures, key=lambda failure: failure.timestamp).exitcode
        return code if code > 0 else 128 - code


def _meeting(processes: int, folder: str, node: slurm.Node | None) -> tuple[int, int, dict[str, str]]:
    """Return the first rank of this machine, how many there are in all, and the variables by which they meet."""
    if node is not None:
        meeting = {"MASTER_ADDR": node.address, "MASTER_PORT": str(node.port)}
        return node.number * processes, node.nodes * processes, meeting
    meeting = {_STORE: f"{folder}/store"}
    if sys.platform == "linux":
        meeting |= {name: os.environ.get(name, "lo") for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    return 0, processes, meeting


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the other processes, if any, and give this one's device.

    Raises:
        PacavitError: another process is lost or does not answer, or :data:`PATIENCE` is not a number.
    """
    import torch
    from torch import distributed

    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world_size() == 1:
        yield device
        return
    patience = seconds(PATIENCE, 1800)
    store = os.environ.get(_STORE)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method="env://" if store is None else f"file://{store}",
        rank=rank(),
        world_size=world_size(),
        timeout=timedelta(seconds=patience),
    )
    try:
        yield device
    except RuntimeError as error:
        raise _explained(error, patience) from error
    finally:
        distributed.destroy_process_group()


def wrapper_options(device: torch.device) -> dict[str, Any]:
    """Return what torch's wrapper of a model that several processes train is given.

    It would sort gradients into new groups after its first backward pass, and with more than two processes the place in
    a group decides the order in which a gradient is summed: a training that goes on would differ from one that was
    never interrupted, in its last bits. Looking for unused parameters, of which there are none, keeps the first groups.
    """
    return {
        "device_ids": [device.index] if device.type == "cuda" else None,
        "find_unused_parameters": True,
    }


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give all processes the buffers of rank 0, which all have to call this."""
    from torch import distributed

    if world_size() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def highest(value: float, device: torch.device) -> float:
    """Return the largest of a number over all processes, which all have to call this."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return float(found)


def every(value: int, device: torch.device) -> list[int]:
    """Return a 64-bit number of each process, by rank; all have to call this."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return [value]
    own = torch.tensor(value, dtype=torch.int64, device=device)
    found = [torch.zeros_like(own) for _ in range(world_size())]
    distributed.all_gather(found, own)
    return [int(each) for each in found]


def mean_over_ranks(value: float, device: torch.device) -> float:
    """Return the mean of a number over all processes, which all have to call this."""
    import torch
    from torch import distributed

    if world_size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total) / world_size()


def _processes() -> int:
    asked = os.environ.get(PROCESSES)
    if asked is None:
        import torch

        return max(1, torch.cuda.device_count())
    if not asked.isdecimal() or int(asked) < 1:
        raise PacavitError(f"{PROCESSES}={asked}: expected a number of processes, 1 or more")
    return int(asked)


def end_with_the_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends, which Linux alone can.

    Args:
        parent: process ID of the one that started this one. If it has ended already, so does this one.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def _explained(error: RuntimeError, patience: float) -> Exception:
    """Turn what a backend says of another process into one line; leave other errors as they are."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if "timed out waiting" in lower or "watchdog" in lower:
        fault = f"another process of the training has not answered for {patience:g} seconds ({PATIENCE})"
    elif "closed by peer" in lower or "connection reset" in lower or "broken pipe" in lower:
        fault = "another process of the training has ended"
    else:
        return error
    return PacavitError(
        f"rank {rank()}: {fault}; see its own lines in the log. The same command goes on from the last state "
        f"({text[:200]})"
    )
