"""Measures every way for every shape of images, and makes the table."""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.common import device
from benchmarks.common import figure as frame
from benchmarks.common.intervals import summarize
from benchmarks.common.report import Finding
from benchmarks.data import Settings
from benchmarks.data.samples import smooth_images
from benchmarks.data.ways import Way, make_ways, prove
from flaxae.data.atomic import write_atomically

SHAPES = {"28x28x1": (28, 1), "64x64x3": (64, 3), "224x224x3": (224, 3)}


def measure_speeds(settings: Settings) -> Finding:
    """Measures, prints the table and writes it; raises RunError if images are not equal."""
    described = device.describe_device()
    print(device.line(described), flush=True)
    rows = [row for shape in SHAPES for row in measure_shape(shape, settings)]
    text, smoke = table(rows), "-smoke" if settings.smoke else ""
    path = settings.output_dir / f"data-{device.name_for_files(described['kind'])}{smoke}.md"
    write_atomically(path, f"{text}\n".encode())
    print(f"\n{text}\n\ntable {path}")
    speeds: dict[str, dict[str, int]] = {shape: {} for shape in SHAPES}
    for row in rows:
        speeds[row["shape"]][row["way"]] = round(row["images_per_second"].median)
    some = speeds["64x64x3"]
    answer = (
        f"batches of 64x64x3 are read from the store at {some['memory map']:,} images a second, "
        f"and JPEG files decoded into it at {some['store from JPEG']:,}"
    )
    brief = {"images_per_second": speeds}
    return Finding(described, answer, {"rows": rows}, brief, draw(rows), "Reading and decoding")


def measure_shape(shape: str, settings: Settings) -> list[dict[str, Any]]:
    """The rows of one shape: every way proven, then all timed in turns."""
    images = smooth_images(settings.megabytes, *SHAPES[shape])
    print(f"{len(images):,} images of {shape}", flush=True)
    with tempfile.TemporaryDirectory(prefix="flaxae-data-") as name:
        folder, store = Path(name), Path(name) / "store"
        ways = make_ways(images, folder, store)
        for way, each in ways.items():
            prove(way, each)  # also the first call, which is not timed
        samples = in_turns(ways, settings.rounds, lambda: shutil.rmtree(store, ignore_errors=True))
    return [
        {
            "shape": shape,
            "way": way,
            "images": len(images),
            "seconds": seconds,
            "cpu_seconds": cpu,
            "images_per_second": summarize([len(images) / each for each in seconds]),
            "cpu_microseconds": summarize([1e6 * each / len(images) for each in cpu]),
        }
        for way, (seconds, cpu) in samples.items()
    ]


def in_turns(
    ways: Mapping[str, Way], rounds: int, before: Callable[[], Any]
) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and CPU seconds of each way, in the order A B A B; `before` is called untimed."""
    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            before()
            start, cpu = time.perf_counter(), time.process_time()  # the latter of all threads
            deque(way.start(), maxlen=0)
            samples[name][0].append(time.perf_counter() - start)
            samples[name][1].append(time.process_time() - cpu)
    return samples


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: a line for each way, two columns for each shape."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        speed, cpu = row["images_per_second"], row["cpu_microseconds"]
        spread = f"({number(speed.lower_quartile)} to {number(speed.upper_quartile)})"
        cells.setdefault(row["way"], []).extend(
            (f"{number(speed.median)} {spread}", number(cpu[0]))
        )
    heads = [head for shape in SHAPES for head in (f"{shape}, images/s", "CPU µs/image")]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    return "\n".join([*lines, *(f"| {way} | {' | '.join(own)} |" for way, own in cells.items())])


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each shape, a bar for each way: images a second, in tenfold steps."""
    figure, panels = frame.panels(1, len(SHAPES), (14, 4), sharey=True)
    for axes, shape in zip(panels[0], SHAPES, strict=True):
        own = [row for row in rows if row["shape"] == shape]
        speeds = [row["images_per_second"].median for row in own]
        bars = axes.barh([row["way"] for row in own], speeds, color=frame.BLUE)
        axes.bar_label(bars, [f" {number(speed)}" for speed in speeds], fontsize=8)
        axes.set(xscale="log", title=shape, xlabel="images a second (higher is faster)")
        axes.margins(x=0.35)
    panels[0, 0].invert_yaxis()  # from top to bottom
    return figure


def number(value: float) -> str:
    """A number with three digits."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:#.3g}"
