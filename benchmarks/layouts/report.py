"""What a person reads of the layout benchmark: tables, reasons, and one sentence."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common.roofline import Ceilings
from benchmarks.layouts.compiled import Convolution
from benchmarks.layouts.rows import LayoutResult, Row
from flaxae.commands.terminal import show_table

_MIB = 2**20
_LITTLE = 0.02  # "surely" is an interval wholly farther from 1: less is no reason to choose


def show_start(device: Mapping[str, Any], kernels: str) -> None:
    """The device and what is compared, before the first measurement."""
    print(
        f"{device['devices']} x {device['kind']} ({device['runtime']}, driver {device['driver']}), "
        f"{device['cores']} cores of {device['processor']}; kernels {kernels}, "
        f"matmul precision {device['matmul_precision']}",
        flush=True,
    )


def show_progress(row: Row) -> None:
    """One line with a row's outcome, as soon as it is there."""
    nhwc, nchw = (1e3 * result.time.median for result in row.layouts.values())
    print(f"{title(row)}: NHWC {nhwc:.3g} ms, NCHW {nchw:.3g} ms, {ratio(row)}", flush=True)


def show(rows: Sequence[Row], ceilings: Mapping[str, Ceilings], peak: int | None) -> None:
    """All tables."""
    show_table(
        "\nTimes of one call: median (quartiles)",
        ("", "NHWC, ms", "NCHW, ms", "NCHW/NHWC (95 %)"),
        [(title(row), *(_time(r) for r in row.layouts.values()), ratio(row)) for row in rows],
    )
    show_table(
        "\nHow far from the device's limit, and what else it costs (NHWC / NCHW)",
        ("", "floor, ms", "times the floor", "compile, s", "memory, MiB", "differ by"),
        [
            (
                title(row),
                _both(row, lambda r: _or(r.floor_seconds, lambda s: f"{1e3 * s:.3g}")),
                _both(row, lambda r: _or(r.floor_seconds, lambda s: f"{r.time.median / s:.1f}")),
                _both(row, lambda r: f"{r.compile_seconds:.1f}"),
                _both(row, lambda r: _or(r.memory_bytes, lambda b: f"{b / _MIB:.1f}")),
                f"{max(row.proof[:3]):.0e}",
            )
            for row in rows
        ],
    )
    for dtype, best in ceilings.items():
        print(
            f"ceilings for {dtype}: {best.flops_per_second / 1e9:,.0f} GFLOP/s in a product of "
            f"{best.matrix_rows} x {best.matrix_rows} matrices, {best.bytes_per_second / 1e9:,.0f} "
            "GB/s through memory"
        )
    print(f"peak device memory of the whole run: {_or(peak, lambda b: f'{b / _MIB:,.0f} MiB')}")
    show_table(
        "\nConvolutions as compiled: input x filter -> output, from major to minor in memory",
        ("", "order", "run by", "NHWC", "NCHW"),
        _convolution_rows(rows),
    )
    print("\nWhy")
    for row in rows:
        print(f"{title(row)}: {row.explanation}")


def title(row: Row) -> str:
    """A row's name."""
    c = row.combination
    kind = c.downsample if c.model == "convolutional" else c.model
    return f"{kind}, {c.dtype}, batch {c.batch_size}, {row.passing}"


def ratio(row: Row) -> str:
    """NCHW / NHWC and its interval."""
    return f"{row.ratio.value:.3f} ({row.ratio.low:.3f} to {row.ratio.high:.3f})"


def explain(nhwc: LayoutResult, nchw: LayoutResult, same_program: bool) -> str:
    """What XLA's layout assignment left of the difference."""
    if same_program:
        return "XLA compiles both layouts to the same instructions; any difference is noise"
    return (
        f"{_convolutions_compared(nhwc.convolutions, nchw.convolutions)}; transposed "
        f"{_moved(nhwc.moves.transpose_bytes)} with NHWC and "
        f"{_moved(nchw.moves.transpose_bytes)} with NCHW, copied {_moved(nhwc.moves.copy_bytes)} "
        f"and {_moved(nchw.moves.copy_bytes)}"
    )


def _convolutions_compared(nhwc: Sequence[Convolution], nchw: Sequence[Convolution]) -> str:
    one, other = (Counter(c.work() for c in convolutions) for convolutions in (nhwc, nchw))
    total, alike = max(one.total(), other.total()), (one & other).total()
    if total == 0:
        return "there are no convolutions"
    orders = Counter(c.input for c in nhwc).most_common(1)[0][0]
    if alike == total:
        return (
            f"XLA's layout assignment makes all {total} convolutions the same in both programs "
            f"(mostly {orders} in memory); only what lies between them differs"
        )
    if Counter(c.form() for c in nhwc) == Counter(c.form() for c in nchw):
        return (
            f"XLA's layout assignment runs all {total} convolutions in the same orders and by the "
            f"same code in both programs (mostly {orders} in memory), {total - alike} with other "
            "sizes or padding"
        )
    return f"{alike} of {total} convolutions are the same in both programs, the others differ"


def answer(rows: Sequence[Row], device: Mapping[str, Any], smoke: bool) -> str:
    """The one sentence: which layout to take on this device."""
    passing = "train" if any(row.passing == "train" for row in rows) else "forward"
    ratios = [row.ratio for row in rows if row.passing == passing]
    mean = math.exp(sum(math.log(each.value) for each in ratios) / len(ratios))
    # Between two equal programs every difference is noise, however sure it looks.
    different = [r.ratio for r in rows if r.passing == passing and not r.same_program]
    faster = sum(each.high < 1 - _LITTLE for each in different)
    slower = sum(each.low > 1 + _LITTLE for each in different)
    what = {"train": "a training step", "forward": "a forward pass"}[passing]
    start = f"On {name(device)}, {what} in NCHW takes {mean:.2f} times as long as in NHWC"
    spread = f"(95 % interval {ratios[0].low:.2f} to {ratios[0].high:.2f})"
    if len(ratios) > 1:
        spread = (
            f"(geometric mean of {len(ratios)} combinations, which lie between "
            f"{min(r.value for r in ratios):.2f} and {max(r.value for r in ratios):.2f}; NCHW is "
            f"surely faster in {faster} of them and surely slower in {slower})"
        )
    if faster and slower:
        advice = "so it depends on the combination: see the table"
    elif slower:
        advice = "so keep NHWC"
    elif faster > len(ratios) / 2:
        advice = "so take --layout NCHW"
    elif faster:
        advice = "so NCHW pays in some combinations: see the table"
    else:
        advice = "so this run shows no difference to choose by: keep NHWC"
    warning = "; a smoke run is too short to believe this" if smoke else ""
    return f"{start} {spread}, {advice}{warning}."


def name(device: Mapping[str, Any]) -> str:
    """The device as a person would call it."""
    if device["runtime"] != "cpu":
        return f"this {device['kind']}"
    return f"this CPU ({device['cores']} cores of {device['processor']})"


def _convolution_rows(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for row in rows:
        counts = {
            layout: Counter(
                (f"{c.input} x {c.filter} -> {c.output}", c.executor) for c in result.convolutions
            )
            for layout, result in row.layouts.items()
        }
        kinds = sorted(set().union(*counts.values()))
        for index, kind in enumerate(kinds):
            numbers = (str(count[kind]) for count in counts.values())
            lines.append((title(row) if index == 0 else "", *kind, *numbers))
    return lines


def _time(result: LayoutResult) -> str:
    median, low, high = (1e3 * seconds for seconds in result.time[:3])
    return f"{median:.4g} ({low:.4g} to {high:.4g})"


def _both(row: Row, text: Any) -> str:
    one, other = (text(result) for result in row.layouts.values())
    return one if one == other else f"{one} / {other}"


def _or(value: Any, text: Any) -> str:
    return "not reported" if value is None else text(value)


def _moved(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
