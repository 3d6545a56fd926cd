"""Python commands in processes that begin with the toolboxes imported.

Importing torch, BasicSR and mmengine takes longer than what most tests of commands do. Here a process
that has done nothing but import them is copied for each command. What a command imports itself, and in
which order, is for the tests that begin Python.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def command(
    folder: Path, *words: str, env: dict[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run ``python *words`` in a folder to its end, with what it printed.

    The words begin with ``-c``, ``-m``, or a file.
    """
    started = start(folder, *words, env=env)
    try:
        status = started.wait(timeout)
    finally:
        started.kill()
    return subprocess.CompletedProcess(words, status, started.stdout, started.stderr)


def start(folder: Path, *words: str, env: dict[str, str] | None = None) -> Warm:
    """Begin ``python *words`` in a folder."""
    return Warm(folder, words, env or {})


def together(folder: Path, *words: str, processes: int = 2) -> list[str]:
    """Run ``python *words`` in so many processes that train or test as one; what each wrote to stderr.

    They are begun as a cluster begins them; what ``torch.distributed.run`` adds is for the tests that use it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        start(folder, *words, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(processes)
    ]
    try:
        for one in started:
            assert one.wait() == 0, one.stderr[-3000:]
    finally:
        for one in started:
            one.kill()
    return [one.stderr for one in started]


class Warm:
    """A command at work."""

    _count = 0

    def __init__(self, folder: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
        Warm._count += 1
        self.out, self.err = (
            folder / f".{name}_{os.getpid()}_{Warm._count}" for name in ("out", "err")
        )
        for file in (self.out, self.err):
            file.touch()
        inherited = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
        self.returncode: int | None = None
        self.pid: int = _ask(
            "begin", str(folder), words, inherited | {"OMP_NUM_THREADS": "1"} | env,
            str(self.out), str(self.err),
        )  # fmt: skip

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask("status", self.pid)
        return self.returncode

    def wait(self, timeout: float = 240) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, f"no end after {timeout} s: {self.stderr[-3000:]}"
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()


def _ask(*question: Any) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(question) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    atexit.register(server.kill)
    return server


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what modules print
    del sys.path[0]
    import vlif_plugin.basicsr_host.registration
    import vlif_plugin.mmengine_host.run  # noqa: F401 (and the toolboxes with them)

    for line in sys.stdin:
        kind, *rest = json.loads(line)
        if kind == "status":
            pid, status = os.waitpid(rest[0], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _become(*rest)
        print(json.dumps(answer), file=answers, flush=True)


def _become(folder: str, words: list[str], env: dict[str, str], out: str, err: str) -> None:
    status: Any = 1
    try:
        os.environ.clear()
        os.environ.update(env)
        os.chdir(folder)
        with open(os.devnull) as nothing, open(out, "w") as output, open(err, "w") as errors:
            for number, file in enumerate((nothing, output, errors)):
                os.dup2(file.fileno(), number)
        kind = words[0] if words[0] in ("-c", "-m") else "file"
        sys.argv = words if kind == "file" else [kind, *words[2:]]
        places = {"-c": "", "-m": folder, "file": os.path.dirname(os.path.abspath(words[0]))}
        sys.path.insert(0, places[kind])
        try:
            if kind == "-m":
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                sys.modules["__main__"] = main = ModuleType("__main__")
                if kind == "file":
                    program, name = Path(words[0]).read_text("utf-8"), words[0]
                    main.__file__ = name
                else:
                    program, name = words[1], "<string>"
                exec(compile(program, name, "exec"), main.__dict__)
            status = 0
        except SystemExit as end:
            status = end.code
            if not isinstance(status, int | None):
                print(status, file=sys.stderr)
                status = 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status or 0)


if __name__ == "__main__":
    _serve()
