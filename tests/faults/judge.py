"""What survived means. Everything here raises Lost with what came."""

import re
from typing import Any

from tests.faults.process import Ended
from tests.faults.stage import Lost, Stage

DECISION = 20.0  # seconds within which a command that fails has to end
_NOISE = re.compile(
    r"Traceback \(most recent|Exception ignored|^Fatal Python|^\*\*\* |terminate called|dumped",
    re.MULTILINE,
)
_SCRATCH = re.compile(
    r"orbax-checkpoint-tmp|(^|/)incomplete\.|\.partial(/|$)|\.other(/|$)|\.old(/|$)|(^|/)\.[^/]+\.\d+$"
)


def check_end(ended: Ended) -> None:
    """It ended by itself and in time, without a traceback, and left no process behind."""
    if ended.hung:
        raise Lost(f"did not end within {ended.seconds:.0f} s; {_tail(ended)}")
    if _NOISE.search(ended.stderr) or _NOISE.search(ended.stdout):
        raise Lost(f"exit {ended.status} with a traceback or the like: {_tail(ended)}")
    if ended.left:
        raise Lost(f"left {ended.left} processes behind")
    if ended.status and ended.seconds > DECISION:
        raise Lost(f"took {ended.seconds:.0f} s to fail")


def check_refusal(ended: Ended) -> None:
    """It failed with exit status 1 or 2 and one line that says more than the system's error."""
    check_end(ended)
    if ended.status not in (1, 2):
        raise Lost(f"exit {ended.status}; {_tail(ended)}")
    lines = error_lines(ended)
    if len(lines) != 1:
        raise Lost(f"exit {ended.status} with {len(lines)} lines: {_tail(ended)}")
    text = lines[0].partition("error: ")[2]
    if not text or text.startswith("[Errno") or len(text.split()) < 5:
        raise Lost(f"exit {ended.status}, and the line does not say what to do: {lines[0][:300]!r}")


def check_signal(ended: Ended, number: int, wants_line: bool) -> None:
    """It ended by 128 + signal."""
    check_end(ended)
    if ended.status != 128 + number:
        raise Lost(f"exit {ended.status} in place of {128 + number}; {_tail(ended)}")
    if wants_line and len(said(ended)) != 1:
        raise Lost(f"exit {ended.status} with {len(said(ended))} lines: {_tail(ended)}")


def check_success(ended: Ended) -> None:
    """It ended with 0."""
    check_end(ended)
    if ended.status:
        raise Lost(f"exit {ended.status}; {_tail(ended)}")


def check_success_or_refusal(ended: Ended) -> bool:
    """Either of them; whether it succeeded."""
    if ended.status == 0:
        check_success(ended)
        return True
    check_refusal(ended)
    return False


def check_numbers(stage: Stage, ended: Ended, workdir: str = "run", of: str = "") -> None:
    """The run has the numbers of an undisturbed one, or it is said which rows are missing."""
    found, wanted = stage.numbers(workdir), stage.expected[of or workdir]
    if found["weights"] != wanted["weights"]:
        raise Lost(f"exit 0 with other weights; {_tail(ended)}")
    if found["rows"] != wanted["rows"]:
        true = all(row in wanted["rows"] for row in found["rows"])
        unique = len({row["epoch"] for row in found["rows"]}) == len(found["rows"])
        if not (true and unique and "metrics" in "\n".join(said(ended))):
            epochs = [row.get("epoch") for row in found["rows"]]
            raise Lost(f"exit 0 with other rows in metrics.jsonl, of the epochs {epochs}")


def check_evaluated(stage: Stage, ended: Ended) -> None:
    """The numbers of the checkpoint that was evaluated; another than the best one is named."""
    came: dict[str, Any] = stage.evaluated(ended)
    _check_step(stage, came["step"], ended)
    wanted = stage.expected.get(f"evaluate {came['step']}", {})
    if came["embedding"]["pictures"] is None and said(ended):  # they were left out, and it was said
        wanted = wanted | {"embedding": wanted["embedding"] | {"pictures": None}}
    if came != wanted:
        raise Lost(f"exit 0 with other numbers: {ended.stdout.splitlines()[-1][:300]}")


def check_embedded(stage: Stage, ended: Ended) -> None:
    """The files of the best checkpoint, or of another one if that is said."""
    files = stage.tree("out")
    for name, expected in stage.expected.items():
        if name.startswith("embed ") and files == expected:
            return _check_step(stage, int(name.removeprefix("embed ")), ended)
    raise Lost(f"exit 0 with other exported files: {sorted(files)}")


def check_clean(stage: Stage, *places: str) -> None:
    """No temporary files are left."""
    for place in (*places, "tmp"):
        top = stage.path(place)
        names = [str(p.relative_to(top)) for p in top.rglob("*")] if top.is_dir() else []
        left = [n for n in names if place == "tmp" or _SCRATCH.search(n)]
        if left:
            raise Lost(f"left behind in {place}: {', '.join(sorted(left)[:5])}")


def said(ended: Ended) -> list[str]:
    """The lines on stderr without remarks on the data."""
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return [line for line in lines if not re.match("warning: the split |note: ", line)]


def error_lines(ended: Ended) -> list[str]:
    """The lines on stderr without remarks, warnings and messages on checkpoints."""
    return [each for each in said(ended) if not re.match("warning: |checkpoint ", each)]


def _check_step(stage: Stage, step: int, ended: Ended) -> None:
    if step != stage.expected["step"] and not said(ended):
        raise Lost(f"exit 0 with checkpoint {step} in place of the best one, and nothing said")


def _tail(ended: Ended) -> str:
    lines = ended.stderr.splitlines(keepends=True)
    return "stderr: " + repr("".join(lines[-4:])[:600]) if lines else "nothing on stderr"
