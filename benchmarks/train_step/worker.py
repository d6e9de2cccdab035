"""One form of the training step in a process of its own: answers requests, a line each, by JSON.

    python -m benchmarks.step_worker torch contiguous convolutional

    prove BATCH_SIZE STEPS    the losses of the first steps, each waited for
    burst STEPS               time and page faults of steps of that batch size, the last waited for
    quit

A process of its own, because each framework brings threads, memory and environment variables that
would disturb the others; resident, so that bursts of all of them can alternate.
"""

import importlib
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.train_step.steps.program import Program
from benchmarks.train_step.steps.workload import Workload, make_batches

Reply = dict[str, Any]


def main(framework: str, variant: str, model: str) -> int:
    """Serves until `quit` or the end of the input; returns the exit status."""
    # Replies have standard output's pipe for themselves; whatever libraries print goes to errors.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(reply: Reply) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        workload = Workload(model)
        module = importlib.import_module(f"benchmarks.train_step.steps.in_{framework}")
        program: Program = module.build(workload, variant)
        send({"device": program.device, "versions": program.versions})
        answer = answering(program, lambda size: make_batches(size, workload.image_shape))
        serve(answer, sys.stdin, send)
    except Exception as error:  # told to whoever asked, whatever it is
        send({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def serve(
    answer: Callable[[str], Reply], requests: Iterable[str], send: Callable[[Reply], None]
) -> None:
    """Answers line by line, until "quit" or the last line."""
    for line in requests:
        if line.strip() == "quit":
            return
        send(answer(line))


def answering(program: Program, batches_of: Callable[[int], list[Any]]) -> Callable[[str], Reply]:
    """What a program answers to a request."""
    inputs: list[Any] = []

    def prove(batch_size: int, steps: int) -> Reply:
        inputs[:] = [program.to_input(images) for images in batches_of(batch_size)]
        program.restart()
        rotated = itertools.islice(itertools.cycle(inputs), steps)
        return {"losses": [program.wait(program.step(batch)) for batch in rotated]}

    def burst(steps: int) -> Reply:
        if not inputs:
            raise ValueError("a burst came before any prove, which sets the batch size")
        return measure(program, [inputs[step % len(inputs)] for step in range(steps)])

    requests = {"prove": prove, "burst": burst}

    def answer(line: str) -> Reply:
        name, *numbers = line.split()
        if name not in requests:
            raise ValueError(f"got the request {name!r}; expected prove, burst or quit")
        return requests[name](*map(int, numbers))

    return answer


def measure(
    program: Program, batches: list[Any], clock: Callable[[], float] = time.perf_counter
) -> Reply:
    """Runs a step on each batch and waits for the last: seconds and page faults a step."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), clock()
    pending = None
    for batch in batches:
        pending = program.step(batch)
    program.wait(pending)
    seconds, after = clock() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    steps = len(batches)
    return {
        "wall": seconds / steps,
        "cpu": cpu / steps,
        "faults": (after.ru_minflt - before.ru_minflt) / steps,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """The most memory that this process had resident at once, since its start.

    Where there is /proc it is read there: ru_maxrss begins with the size of the parent.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else 1024 * size
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
