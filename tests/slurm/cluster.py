"""A Slurm of two nodes on loopback, of Debian's packages ``slurm-wlm`` and ``munge``, for as long as a test session."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from filelock import FileLock

#: Where every program of Slurm looks by itself; Snakemake's executor drops the variable that says otherwise.
CONFIGURATION = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")

_PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
_SYSTEM_FOLDERS = "/usr/sbin:/sbin"

#: Held by the test session that wrote the configuration, and let go by the kernel if that is killed.
_LOCK = Path("/run/lock/pacavit-test-slurm.lock")
_MARK = "# Of a test session of PaCa-ViT"

_SLURM_CONF = (
    _MARK
    + """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# How long a lost node's job waits before it begins again: longer than KillWait, in which its processes end.
AuthInfo=socket={folder}/munge.socket,cred_expire=60
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0
ReturnToService=2
# Ended jobs stay visible to squeue, by which Snakemake learns how they ended and a test how many there were.
MinJobAge=3600
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=16000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=16000
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
)


def why_not() -> str | None:
    """Return why no Slurm can be started here, or None if it can."""
    missing = [name for name in _PROGRAMS if _which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "Slurm's daemons need root: run `make test` as root"
    if CONFIGURATION.exists() and not CONFIGURATION.read_text().startswith(_MARK):
        return f"{CONFIGURATION} exists: this machine belongs to a cluster, run `make test` on another"
    return None


class Cluster:
    """Two nodes of two processors each, in the partition ``cpu``; a context manager that starts and ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"test{os.getpid()}"
        self._stack = ExitStack()

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            self._configure(stack)
            munge = [f"--{name}-file={self._folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
            run("mungekey", "--create", f"--keyfile={self._folder}/munge.key")
            self._start(stack, "munged", "--foreground", "--force", f"--socket={self._socket}", *munge)
            self._wait(self._socket.exists, "munged")
            self._start(stack, "slurmctld", "-D")
            for node in NODES:
                self._start(stack, "slurmd", "-D", "-N", node)
            stack.callback(self._end_jobs)
            self._wait(self._idle, "two idle nodes")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def revive(self) -> None:
        """Put nodes that a test has set down back to work."""
        for node in NODES:
            run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self._wait(self._idle, "two idle nodes")

    def jobs(self) -> dict[str, str]:
        """Return the states of all jobs that Slurm remembers, by number."""
        lines = run("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def node_of(self, job: str) -> str:
        """Return the node, or nodes, that a job runs on."""
        return run("squeue", "--noheader", "--format=%N", f"--jobs={job}").strip()

    @property
    def _socket(self) -> Path:
        return self._folder / "munge.socket"

    def _configure(self, stack: ExitStack) -> None:
        (self._folder / "state").mkdir()
        for node in NODES:
            (self._folder / f"spool-{node}").mkdir()
        ports = dict(zip(("controller", *NODES), _free_ports(3), strict=True))
        CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
        # Another session's Slurm ends with its last test; a configuration that nobody holds was left by a killed one.
        stack.enter_context(FileLock(_LOCK))
        stack.callback(CONFIGURATION.unlink, missing_ok=True)
        CONFIGURATION.write_text(
            _SLURM_CONF.format(name=self._name, host=socket.gethostname(), folder=self._folder, **ports)
        )

    def _start(self, stack: ExitStack, name: str, *arguments: str) -> None:
        with open(self._folder / f"{name}.out", "a") as output:
            process = subprocess.Popen([_which(name), *arguments], stdout=output, stderr=output)
        stack.callback(_end, process)

    def _end_jobs(self) -> None:
        run("scancel", "--user=root", "--full", check=False)
        until = time.monotonic() + 60
        while run("squeue", "--noheader", check=False) and time.monotonic() < until:
            time.sleep(0.2)
        # On a node that was only declared lost, what it ran goes on.
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_CLUSTER_NAME") == self._name:
                    process.kill()

    def _idle(self) -> bool:
        states = run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return states == ["idle", "idle"]

    def _wait(self, ready, what: str) -> None:
        until = time.monotonic() + 60
        while not ready():
            if time.monotonic() > until:
                logs = [path.read_text()[-2000:] for path in self._folder.glob("*.log")]
                raise RuntimeError("\n".join([f"no {what} after 60 seconds", *logs]))
            time.sleep(0.2)


def run(*command: str, check: bool = True) -> str:
    """Run one of Slurm's programs and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _which(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
        return
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
