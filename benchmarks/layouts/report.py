"""The tables, the conclusions and the picture of the layout benchmark."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.common import device, tables
from benchmarks.common import figure as frame
from benchmarks.common.memory import MIB
from benchmarks.common.report import Finding
from benchmarks.common.roofline import Ceilings, measure_ceilings
from benchmarks.common.tables import interval, milliseconds, quartiles, reported
from benchmarks.layouts import Settings
from benchmarks.layouts.comparison import LayoutResult, Row, measure

_PASSES = {"train": "a training step", "forward": "a forward pass"}
_COLORS = {"NHWC": frame.BLUE, "NCHW": frame.ORANGE}
_CLAIM_OF_2018 = 27 / 40  # see the README: from 27 to 40 iterations a second
_NEGLIGIBLE = 0.02  # a ratio this close to 1 is no reason to choose


def compare_layouts(settings: Settings) -> Finding:
    """Measures, and prints the tables; raises as `comparison.measure`."""
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is timed
    described = device.describe_device()
    precision = described["matmul_precision"]
    print(f"{device.line(described)}; kernels {settings.kernels}, matmul precision {precision}")
    ceilings = {dtype: measure_ceilings(dtype, smoke=settings.smoke) for dtype in settings.dtypes}
    rows: list[Row] = []
    for row in measure(settings, ceilings):
        rows.append(row)
        times = (f"{o} {milliseconds(r.time.median)} ms" for o, r in row.layouts.items())
        print(f"{row.title()}: {', '.join(times)}, {interval(row.ratio, 3)}", flush=True)
    peak = device.peak_bytes()
    show(rows, ceilings, peak)
    explained = [row._asdict() | {"explanation": explain(row)} for row in rows]
    content = {"ceilings": ceilings, "device_peak_bytes": peak, "rows": explained}
    ratios = [r.combination._asdict() | r.ratio._asdict() | {"pass": r.passing} for r in rows]
    picture = (draw(rows), "NHWC and NCHW")
    return Finding(described, answer(rows), content, {"ratios": ratios}, *picture)


def show(rows: Sequence[Row], ceilings: Mapping[str, Ceilings], peak: int | None) -> None:
    """Prints all tables; `peak` is in bytes."""
    times = {
        "": Row.title,
        "NHWC, ms": lambda row: quartiles(row.layouts["NHWC"].time),
        "NCHW, ms": lambda row: quartiles(row.layouts["NCHW"].time),
        "NCHW/NHWC (95 %)": lambda row: interval(row.ratio, 3),
    }
    tables.show("Time of one call: median (quartiles)", times, rows)

    def both(text: Callable[[LayoutResult], str]) -> Callable[[Row], str]:  # one if they are equal
        return lambda row: " / ".join(dict.fromkeys(map(text, row.layouts.values())))

    limits = {
        "": Row.title,
        "floor, ms": both(lambda r: reported(r.floor_seconds, milliseconds)),
        "time / floor": both(
            lambda r: reported(r.floor_seconds, lambda floor: f"{r.time.median / floor:.1f}")
        ),
        "compilation, s": both(lambda r: f"{r.compile_seconds:.1f}"),
        "memory, MiB": both(lambda r: reported(r.memory_bytes, lambda b: f"{b / MIB:.1f}")),
        "differ by": lambda row: f"{max(row.proof[:3]):.0e}",
    }
    tables.show("The device's limit and other costs (NHWC / NCHW)", limits, rows)
    for dtype, best in ceilings.items():
        memory = f"{best.bytes_per_second / 1e9:,.0f} GB/s through memory"
        print(f"limits for {dtype}: {best.text()}; {memory}")
    print(f"peak device memory of the whole run: {reported(peak, lambda b: f'{b / MIB:,.0f} MiB')}")
    lines = []
    for row in rows:
        nhwc, nchw = (
            Counter((f"{c.input} x {c.filter} -> {c.output}", c.executor) for c in r.convolutions)
            for r in row.layouts.values()
        )
        for index, kind in enumerate(sorted(nhwc | nchw)):
            lines.append(["" if index else row.title(), *kind, str(nhwc[kind]), str(nchw[kind])])
    tables.show_table(
        "\nConvolutions as compiled: input x filter -> output, from major to minor in memory",
        ("", "order", "run by", "NHWC", "NCHW"),
        lines,
    )
    print("\nWhy")
    for row in rows:
        print(f"{row.title()}: {explain(row)}")


def answer(rows: Sequence[Row]) -> str:
    """Which layout to take on this device."""
    passing = "train" if any(row.passing == "train" for row in rows) else "forward"
    chosen = [row for row in rows if row.passing == passing]
    # Between equal programs any difference is noise, even if its interval excludes 1.
    different = [row.ratio for row in chosen if not row.same_program]
    faster = sum(each.high < 1 - _NEGLIGIBLE for each in different)
    slower = sum(each.low > 1 + _NEGLIGIBLE for each in different)
    ratios = [row.ratio.value for row in chosen]
    spread = f"95 % interval {chosen[0].ratio.low:.2f} to {chosen[0].ratio.high:.2f}"
    if len(ratios) > 1:
        spread = (
            f"geometric mean of {len(ratios)} combinations from {min(ratios):.2f} to "
            f"{max(ratios):.2f}; NCHW is significantly faster in {faster}, slower in {slower}"
        )
    cases = (
        (faster and slower, "the better layout depends on the combination: see the table"),
        (slower, "keep NHWC"),
        (faster > len(ratios) / 2, "take --layout NCHW"),
        (faster, "NCHW is better in some combinations: see the table"),
        (True, "there is no significant difference: keep NHWC"),
    )
    advice = next(text for holds, text in cases if holds)
    what, mean = _PASSES[passing], statistics.geometric_mean(ratios)
    return f"the time of {what} in NCHW relative to NHWC is {mean:.2f} ({spread}); {advice}"


def explain(row: Row) -> str:
    """What differs between the two programs after XLA's layout assignment."""
    if row.same_program is None:
        return "not reported: this backend does not print its programs"
    if row.same_program:
        return "XLA compiles both layouts to the same instructions; any difference is noise"
    found = [result.convolutions for result in row.layouts.values()]
    work, forms = map(Counter, found), [Counter(c[:4] for c in each) for each in found]
    total, alike = max(map(len, found)), (next(work) & next(work)).total()
    inputs = Counter(c.input for c in found[0]).most_common(1)
    mostly = f"(mostly {inputs[0][0]} in memory)" if inputs else ""
    same = "are the same in both programs"
    cases = (
        (total == 0, "there are no convolutions"),
        (alike == total, f"all {total} convolutions {same} {mostly}"),
        (
            forms[0] == forms[1],
            f"all {total} convolutions have the same orders and run the same code in both programs "
            f"{mostly}; {total - alike} have other sizes or padding",
        ),
        (True, f"{alike} of {total} convolutions {same}"),
    )
    moved = (
        f"{layout} transposes {moves.transpose_bytes / MIB:.1f} MiB and copies "
        f"{moves.copy_bytes / MIB:.1f} MiB"
        for layout, moves in ((layout, result.moves) for layout, result in row.layouts.items())
    )
    return "; ".join((next(text for holds, text in cases if holds), *moved))


def draw(rows: Sequence[Row]) -> Figure:
    """Times on the left, ratios on the right, one line for each combination and pass."""
    size = (12, 2.2 + 0.45 * len(rows))
    figure, panels = frame.panels(1, 2, size, sharey=True, width_ratios=(3, 2))
    times, ratios = panels[0]
    bars = [{o: (r.time, r.floor_seconds) for o, r in row.layouts.items()} for row in rows]
    titles, images = map(Row.title, rows), (row.combination.batch_size for row in rows)
    frame.draw_bars(times, list(zip(titles, images, bars, strict=True)), _COLORS)
    frame.legend_above(times, columns=3)

    values, low, high = np.transpose([row.ratio[:3] for row in rows])
    ratios.axvline(1, color="black", linewidth=1)
    ratios.axvline(_CLAIM_OF_2018, color="gray", linestyle=":", label="the claim of 2018 (GPU)")
    style = {
        "fmt": "o",
        "color": "#333333",
        "capsize": 3,
        "label": "ratio of medians, 95 % interval",
    }
    ratios.errorbar(values, range(len(rows)), xerr=(values - low, high - values), **style)
    ratios.set_xlabel("NCHW / NHWC (below 1: NCHW is faster)")
    ratios.grid(axis="x", alpha=0.3)
    frame.legend_above(ratios, columns=2)
    return figure
