"""Starts a command, watches it, and says how it ended.

A real process is a new interpreter that runs `run.py`. A forked one is a child of a template (see
`template.py`) that has imported what the commands import and has not used JAX yet; it saves the
imports and is the same from `main(arguments)` to the end of the interpreter. What dies by a kill or
a signal, and what is started under limits, is always real.

All children lose the capability to pass over permissions, so that these hold for root too.
"""

import contextlib
import ctypes
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_POLL = 0.02
_MOST_WALL = 20  # times the limit: of a process that the machine never lets run
_HZ = os.sysconf("SC_CLK_TCK")
_CDLL = ctypes.CDLL(None)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    command: str
    status: int  # as a shell has it: 128 + the signal
    stdout: str
    stderr: str
    seconds: float  # since it was started, or since the last signal; without waits for a processor
    hung: bool  # it was killed because it did not end
    left: int  # processes of its session that were still there


def be_a_child() -> None:
    """Takes the right to pass over permissions (CAP_DAC_*), which only root has; resets signals.

    A campaign in the background of a shell ignores SIGINT, and its children would inherit that.
    """
    for capability in (1, 2):
        _CDLL.prctl(24, capability, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Running:
    """A command that was started."""

    def __init__(self, command: str, pid: int, poll: Callable[[], int | None], files: Path):
        self.pid, self._command, self._poll, self._files = pid, command, poll, files
        self._clock = _Clock(pid)

    def signal(self, number: int) -> None:
        """Sends a signal; the time until the end is counted from here."""
        self._clock = _Clock(self.pid)
        if self._poll() is None:
            os.kill(self.pid, number)

    def ended(self) -> bool:
        return self._poll() is not None

    def wait(self, limit: float) -> Ended:
        """Waits for the end; a command that is still there after `limit` seconds is killed."""
        hung = False
        while (status := self._poll()) is None:
            time.sleep(_POLL)
            if self._clock.tick() > limit or self._clock.wall() > _MOST_WALL * limit:
                hung = True
                _kill_session(self.pid)
        seconds = self._clock.tick()
        if (left := len(_session(self.pid))) and not hung:
            time.sleep(0.5)  # a process that is about to end
            left = len(_session(self.pid))
        _kill_session(self.pid)
        read = [
            (self._files / name).read_bytes().decode("utf-8", "replace")
            if (self._files / name).exists()
            else ""
            for name in ("stdout", "stderr")
        ]
        shown = status if status >= 0 else 128 - status
        return Ended(self._command, shown, *read, round(seconds, 2), hung, left)


def start(
    arguments: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    files: Path,
    program: Sequence[str] = ("run.py",),
    stdout: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> Running:
    """Starts a real process; `prepare` runs in it first, `stdout` is in place of a file.

    With a `stdout` of -1 it is closed.
    """
    words = [str(ROOT / program[0]) if program[0].endswith(".py") else program[0], *program[1:]]

    def before() -> None:
        be_a_child()
        if stdout == -1:
            os.close(1)
        if prepare is not None:
            prepare()

    with open(files / "stdout", "wb") as out, open(files / "stderr", "wb") as err:
        process = subprocess.Popen(
            [sys.executable, *words, *arguments],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out if stdout in (None, -1) else stdout,
            stderr=err,
            start_new_session=True,
            preexec_fn=before,
        )
    return Running(shlex.join(["run.py", *arguments]), process.pid, process.poll, files)


class Template:
    """The process that forks; one command at a time."""

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.template"],
            cwd=ROOT,
            env=dict(env) | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=be_a_child,
        )
        self._cwd, self._buffer = cwd, b""

    def start(self, arguments: Sequence[str], files: Path, do: str = "main") -> Running:
        """Starts a forked process."""
        assert self._process.stdin is not None
        request = {"do": do, "arguments": [*arguments], "cwd": str(self._cwd), "files": str(files)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._answer(wait=True)
        assert pid is not None
        found: list[int] = []

        def poll() -> int | None:
            if not found and (status := self._answer(wait=False)) is not None:
                found.append(status)
            return found[0] if found else None

        return Running(shlex.join(["run.py", *arguments]), pid, poll, files)

    def _answer(self, wait: bool) -> int | None:
        """The next line of the template; None if there is none yet."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            if not wait and not select.select([self._process.stdout], [], [], 0)[0]:
                return None
            came = os.read(self._process.stdout.fileno(), 100)
            if not came:
                raise RuntimeError("the template has ended")
            self._buffer += came
        line, _, self._buffer = self._buffer.partition(b"\n")
        return int(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Clock:
    """Seconds of a process, without those in which it was ready and other work had the processors.

    A machine that is busy with other work would else make every command look slow.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._seconds = pid, 0.0
        self._began = self._wall = time.monotonic()
        self._processor = _processor_seconds(pid)[0]

    def wall(self) -> float:
        return time.monotonic() - self._began

    def tick(self) -> float:
        wall, (processor, ready) = time.monotonic(), _processor_seconds(self._pid)
        passed, used = wall - self._wall, max(0.0, processor - self._processor)
        self._seconds += min(passed, used) if ready else passed
        self._wall, self._processor = wall, processor
        return self._seconds


def _processor_seconds(pid: int) -> tuple[float, bool]:
    """What a process has used of the processors, and whether a thread of it runs or could run."""
    total, ready = 0, False
    try:
        fields = _stat(Path(f"/proc/{pid}/stat"))
        total = int(fields[11]) + int(fields[12])
        ready = any(_stat(f / "stat")[0] in "RD" for f in Path(f"/proc/{pid}/task").iterdir())
    except (OSError, IndexError):
        pass
    return total / _HZ, ready


def _stat(path: Path) -> list[str]:
    """The fields after the name, which may hold blanks."""
    return path.read_text().rpartition(")")[2].split()


def _session(pid: int) -> list[int]:
    """The living processes of the session that the process `pid` leads."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = _stat(folder / "stat")
            except OSError:
                continue
            if int(fields[3]) == pid and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def _kill_session(pid: int) -> None:
    for each in _session(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
