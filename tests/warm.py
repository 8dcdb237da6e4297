"""Runs `snakemake`, `dvc` and Python programs in forks of a process that has imported their libraries.

Importing takes them longer than their work on a small pipeline. The package itself is imported by each fork, from the
working copy in which the command is typed. As a script, with a socket's path and a command line, it is the client.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

#: Commands that the process runs beside programs.
COMMANDS = ("snakemake", "dvc")

_LIBRARIES = ("snakemake.cli", "snakemake_executor_plugin_slurm", "dvc.cli.parser", "dvc.repo", "pydantic")


def command(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs one of :data:`COMMANDS`, or a Python program, in a fork.

    Args:
        name: of the command, or path of the program.
        arguments: its own.
    """
    return [sys.executable, "-I", "-S", __file__, _server(), name, *arguments]


@cache
def _server() -> str:
    """Start the process, once in this one, with which it ends; return the path of its socket."""
    import tempfile

    folder = tempfile.TemporaryDirectory()  # kept by the function below
    path = str(Path(folder.name, "socket"))
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()  # it listens

    def end() -> None:
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return path


def client(path: str, *command: str) -> int:
    """Run a command in a fork of the server, with the files, folder and environment of this process."""
    request = json.dumps([command, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(request)
        return int.from_bytes(connection.recv(1) or b"\1", "big")


def _serve(path: str) -> None:
    import gc
    import importlib
    from contextlib import suppress

    for library in _LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(library)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print(flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Run the command of a connection in one more process, and end it if the client ends."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    command, folder, environment = json.loads(_received(connection, int.from_bytes(size, "big")))
    process = os.fork()
    if process == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        # Those of before know what kind of file they had.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[0:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = command
        _end(_run)
    watch = os.pidfd_open(process)
    ready, _, _ = select.select([connection, watch], [], [])
    if watch not in ready:
        os.kill(process, signal.SIGTERM)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.send(bytes([code % 256]))
    os._exit(0)


def _received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (part := connection.recv(size - len(found))):
        found += part
    return found


def _run() -> None:
    name = Path(sys.argv[0]).name
    if name == "snakemake":
        from snakemake.cli import main
    elif name == "dvc":
        from dvc.cli import main
    else:
        import runpy

        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    sys.exit(main())


def _end(run) -> None:
    """Run a function as the main program of this process, and end the process as Python does."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(sys.argv[2])
    else:
        sys.exit(client(*sys.argv[1:]))
