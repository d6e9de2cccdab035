"""Each test runs a process whose command is a few lines of Python, without JAX."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
SIGNALS += [signal.SIGUSR1, signal.SIGUSR2]  # which schedulers send
LIMIT = 30  # seconds in which a process ends; what is tested takes 10 at most
UNSAVED = "before all was saved; the same command goes on from the last checkpoint"
BEGUN = "print('begun', flush=True)\n"


@pytest.fixture(autouse=True)
def signals_of_a_terminal():
    """Children inherit ignored signals, which tests in the background have."""
    defaults = dict.fromkeys(SIGNALS, signal.SIG_DFL)
    defaults[signal.SIGINT] = signal.default_int_handler
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def script(body):
    """A program whose command is `body`, the lines of a function that returns the status."""
    return (
        "import hashlib, os, signal, sys, threading, time\n"
        "from flaxae.commands import ending, main, process\n"
        f"def command():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "main.command = command\n"
        "process.run()\n"
    )


def start(body, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-c", script(body)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)


def stopped_by(number, body, times=1, **options):
    """The status, output and errors of a command that got a signal after it printed a line."""
    with start(BEGUN + textwrap.dedent(body), **options) as process:
        assert process.stdout.readline() == "begun\n"
        for _ in range(times):
            time.sleep(0.1)
            process.send_signal(number)
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()  # else the end of the block waits for ever
    return process.returncode, out, err


# What a command does when the signal comes.
WAITS = "time.sleep(100)"
COMPUTES_IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
LOSES_THE_EXCEPTION = """
class Callback:
    def __del__(self):
        time.sleep(100)
callback = Callback()
del callback
time.sleep(100)
"""
MAKES_IT_ANOTHER = """
try:
    time.sleep(100)
except BaseException:
    raise ImportError("numpy could not be imported") from None
"""
GOES_ON = """
try:
    time.sleep(100)
except BaseException:
    return 0
"""
NEVER_CLEANS_UP = """
try:
    time.sleep(100)
finally:
    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
"""
WHAT_IT_DOES = {
    "waits": WAITS,
    "computes in C": COMPUTES_IN_C,
    "loses the exception": LOSES_THE_EXCEPTION,
    "makes it another": MAKES_IT_ANOTHER,
    "goes on": GOES_ON,
    "never cleans up": NEVER_CLEANS_UP,
}


@pytest.mark.parametrize("body", WHAT_IT_DOES.values(), ids=WHAT_IT_DOES)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_the_process_with_one_line(number, body):
    status, out, err = stopped_by(number, body)
    assert (status, out, err) == (128 + number, "", f"flaxae: stopped by {number.name}\n")


def test_the_main_thread_cleans_up_also_where_the_exception_was_lost_at_first():
    indented = textwrap.indent(LOSES_THE_EXCEPTION, "    ")
    body = f"try:\n{indented}\nfinally:\n    print('clean', flush=True)"
    assert stopped_by(signal.SIGINT, body)[1] == "clean\n"


def test_a_signal_that_the_parent_has_set_to_be_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        status, _, err = stopped_by(signal.SIGHUP, "time.sleep(0.5)\nreturn 0")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (status, err) == (0, "")


def test_another_handler_may_take_the_first_signal_but_not_the_second():
    takes = "signal.signal(signal.SIGINT, lambda *_: print('saved', flush=True))\n"
    once = takes + "signal.pause()\nraise process.stopped(signal.SIGINT)"
    assert stopped_by(signal.SIGINT, once)[:2] == (130, "saved\n")
    status, _, err = stopped_by(signal.SIGINT, takes + "while True: time.sleep(0.1)", times=2)
    assert (status, err) == (130, f"flaxae: stopped by SIGINT {UNSAVED}\n")


def test_a_run_that_does_not_save_in_time_says_so():
    body = """
    process._LONG_PATIENCE = 0.5
    signal.signal(signal.SIGTERM, lambda number, frame: time.sleep(100))
    time.sleep(100)
    """
    status, _, err = stopped_by(signal.SIGTERM, body)
    assert status == 128 + signal.SIGTERM
    assert err == f"flaxae: stopped by SIGTERM {UNSAVED}\n"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_run_py_is_stopped_while_it_imports(number):
    """From its first line on; before it, Python itself starts."""
    program = (ROOT / "run.py").read_text()
    assert program.index("signal.signal(") < program.index("import run")
    late = program.replace(
        "from flaxae", "print('begun', flush=True)\nimport time\ntime.sleep(100)\nfrom flaxae", 1
    )
    with subprocess.Popen(
        [sys.executable, "-c", late], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (128 + number, f"flaxae: stopped by {number.name}\n")


def test_a_thread_that_is_left_behind_does_not_hold_the_process():
    with start("threading.Thread(target=time.sleep, args=(1000,)).start()\nreturn 3") as process:
        process.communicate(timeout=LIMIT)
    assert process.returncode == 3


def test_an_error_whose_clean_up_takes_too_long_ends_the_process_with_its_line():
    body = """
    from flaxae.errors import RunError
    try:
        raise RunError("no\\nspace")
    except RunError as error:
        process.end_soon(error)
        time.sleep(100)
    """
    with start(body) as process:
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (1, "flaxae: error: no\\nspace\n")


def test_an_exception_that_nobody_expected_has_its_traceback():
    with start("raise LookupError('a fault')") as process:
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert err.endswith("LookupError: a fault\n")
    assert "Traceback" in err


@pytest.mark.parametrize("body", ["print(3)", "print(3, flush=True)", "print('x' * 99999)"])
def test_standard_output_on_a_full_disk_is_one_line_at_the_end(body):
    with open("/dev/full", "w") as full, start(f"{body}\nreturn 0", stdout=full) as process:
        _, err = process.communicate(timeout=LIMIT)
    reason = "standard output cannot be written: No space left on device"
    assert (process.returncode, err) == (1, f"flaxae: error: {reason}\n")


@pytest.mark.parametrize("body", ["print(3)", "print(3, flush=True)\ntime.sleep(100)"])
def test_a_closed_pipe_ends_the_process_quietly(body):
    source, sink = os.pipe()
    os.close(source)
    with start(f"{body}\nreturn 0", stdout=sink) as process:
        os.close(sink)
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, "")


def test_a_command_that_listens_to_sigterm_can_save_after_the_pipe_was_closed():
    """As training does."""
    body = """
    saved = []
    signal.signal(signal.SIGTERM, lambda number, frame: saved.append(number))
    print(3, flush=True)
    print("saved", len(saved), file=sys.stderr)
    raise process.stopped(signal.SIGTERM)
    """
    source, sink = os.pipe()
    os.close(source)
    with start(body, stdout=sink) as process:
        os.close(sink)
        _, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (128 + signal.SIGPIPE, "saved 1\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_the_parent_has_closed_does_no_harm(stream, tmp_path):
    """The next file that is opened must not get its number, and our output."""
    body = f"""
    with open({str(tmp_path / "file")!r}, "w") as file:
        print("text")
        print("text", file=sys.stderr)
        os.system("echo text; echo text >&2")
    return 0
    """
    redirect = {"stdout": ">&-", "stderr": "2>&-"}[stream]
    command = f'"$0" -c "$1" {redirect}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, script(body)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == ""
