"""The table and the sentence of the count of GPU programs."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from benchmarks.common import device, tables
from benchmarks.common.memory import MIB
from benchmarks.common.report import Finding, plain
from benchmarks.common.tables import reported
from benchmarks.common.targets import TARGETS, Target
from benchmarks.programs import Settings
from benchmarks.programs.compilation import PTXAS, Program, measure, requests, require_plugin
from flaxae.errors import RunError

_PASSES = {
    "train": "a step",
    "scan": "a step of many in a call",
    "forward": "the loss",
    "embed": "the embedding",
}


def count_programs(settings: Settings) -> Finding:
    """Compiles, counts, and prints the table.

    Raises:
        InputError: the CUDA plugin is not installed; the message says how to install it.
        RunError: no program could be compiled.
    """
    require_plugin()
    logging.getLogger("jax").setLevel(logging.ERROR)  # the plugin finds no GPU, which is expected
    programs: list[Program] = []
    failures: dict[str, str] = {}
    for gpu, request in requests(settings):
        if gpu in failures:
            continue
        try:
            programs.append(measure(gpu, request))
        except jax.errors.JaxRuntimeError as error:  # of XLA, or of the ptxas that it found
            failures[gpu] = failure(TARGETS[gpu], str(error))
            print(failures[gpu], flush=True)
        else:
            print(_line(programs[-1]), flush=True)
    if not programs:
        raise RunError("; ".join(failures.values()))
    show(programs)
    plain_programs = plain(programs)
    print(table(plain_programs))
    brief = [
        {
            "gpu": p.gpu,
            **p.request._asdict(),
            "launches": p.launches.total,
            "bytes": p.launches.bytes,
        }
        for p in programs
    ]
    content = {"counted": "not timed", "programs": plain_programs, "failures": failures}
    text = "; ".join(failures.values())
    described = device.describe_device()
    return Finding(described, answer(programs), content, {"programs": brief}, failure=text)


def failure(target: Target, message: str) -> str:
    """One line for a GPU for which a program could not be compiled."""
    first = (message.splitlines() or ["no reason was given"])[0]
    line = f"{target.name} cannot be compiled for here: {first}"
    if "ptxas" not in first:
        return line
    architecture = "sm_{}{}".format(*target.capability)
    return f"{line} (it does not know {architecture}); pip install --no-deps {PTXAS}"


def table(programs: Sequence[Mapping[str, Any]]) -> str:
    """The table of benchmarks/README.md, in Markdown, from the programs of the results' file.

    A cell has the launches and MiB of the plain form, and those of the GPU form.
    """
    passes = list(dict.fromkeys(p["request"]["passing"] for p in programs))
    cells: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    floors: dict[tuple[str, ...], dict[str, str]] = {}
    for p in programs:
        r, counted = p["request"], p["launches"]
        kind = ("layout", "dtype", "downsample", "activation", "batch_size")
        row = (TARGETS[p["gpu"]].name, *(str(r[name]) for name in kind))
        launched = sum(counted[name] for name in ("kernels", "library_calls", "copies"))
        mib = (counted["kernel_bytes"] + counted["library_bytes"]) / MIB
        cells.setdefault(row, {})[r["passing"], r["form"]] = f"{launched} / {mib:,.0f}"
        if r["passing"] == passes[0]:
            floors.setdefault(row, {})[r["form"]] = f"{1e6 * p['bytes_seconds']:,.0f}"
    heads = ("GPU", "layout", "type", "halving by", "activation", "batch")
    first = (*heads, *map(_PASSES.__getitem__, passes), f"floor of {_PASSES[passes[0]]}, µs")
    lines: list[tuple[str, ...]] = [first, ("---",) * len(first)]
    for row, found in cells.items():
        each = [_from_to(found.get((name, "plain")), found.get((name, "gpu"))) for name in passes]
        floor = floors.get(row, {})
        lines.append((*row, *each, _from_to(floor.get("plain"), floor.get("gpu"))))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _from_to(plain_form: str | None, gpu_form: str | None) -> str:
    return " → ".join(text for text in (plain_form, gpu_form) if text)


def _title(p: Program) -> str:
    r = p.request
    kind = f"{r.downsample}, {r.activation}, {r.dtype}, batch {r.batch_size}, {r.layout}"
    return f"{TARGETS[p.gpu].name}, {kind}, {_PASSES[r.passing]}, {r.form}"


def _line(p: Program) -> str:
    return f"{_title(p)}: {p.launches.total} launches, {p.launches.bytes / MIB:,.0f} MiB"


def show(programs: Sequence[Program]) -> None:
    """Prints the tables."""
    columns = {
        "": _title,
        "launches": lambda p: str(p.launches.total),
        "library calls": lambda p: str(p.launches.library_calls),
        "copies": lambda p: str(p.launches.copies),
        "MiB": lambda p: f"{p.launches.bytes / MIB:,.0f}",
        "of library calls": lambda p: f"{p.launches.library_bytes / MIB:,.0f}",
        "transposed, MiB": lambda p: f"{p.transpose_bytes / MIB:,.0f}",
        "temporary, MiB": lambda p: f"{p.temporary_bytes / MIB:,.0f}",
        "floor by bytes, us": lambda p: f"{1e6 * p.bytes_seconds:,.0f}",
        "by operations, us": lambda p: reported(p.flops_seconds, lambda s: f"{1e6 * s:,.1f}"),
    }
    tables.show("Counted in compiled programs, not timed", columns, programs)
    orders = {
        "": _title,
        "convolutions in memory": lambda p: "; ".join(
            f"{number} {order}" for order, number in p.convolutions.items()
        ),
    }
    tables.show("Orders that XLA chose, from major to minor", orders, programs)


def answer(programs: Sequence[Program]) -> str:
    """How much less the GPU form moves than the plain one, where both were counted."""
    by_key = {(p.gpu, p.request): p for p in programs}
    pairs = [
        (by_key[gpu, request._replace(form="plain")], p)
        for (gpu, request), p in by_key.items()
        if request.form == "gpu" and (gpu, request._replace(form="plain")) in by_key
    ]
    if not pairs:
        first = programs[0]
        return f"{_line(first)} (compiled for a GPU that is not there; nothing was timed)"
    shares = [gpu.launches.bytes / plain.launches.bytes for plain, gpu in pairs]
    fewer = [gpu.launches.total / plain.launches.total for plain, gpu in pairs]
    return (
        f"the GPU form was compiled to move {min(shares):.2f} to {max(shares):.2f} of the bytes of "
        f"the plain form with {min(fewer):.2f} to {max(fewer):.2f} of its launches "
        f"({len(pairs)} programs for GPUs that are not there; nothing was timed)"
    )
