"""Trains on random images of each shape, in a process of its own, which has one memory peak."""

import statistics
import tempfile
from typing import Any

import jax
import numpy as np

import flaxae
from benchmarks.common import device
from benchmarks.common.memory import peak_bytes
from benchmarks.common.report import Finding
from benchmarks.common.workers import in_process
from benchmarks.image_sizes import Settings, Shape, parse_shape

HEADER = """\
| images | weights | images/s | peak memory, GB |
|---|---|---|---|"""


def measure_sizes(settings: Settings) -> Finding:
    """Prints the table; raises as `in_process`."""
    options = settings.batch, settings.seconds, settings.repeats
    described = device.describe_device()
    print(device.line(described), flush=True)
    print(HEADER)
    rows = []
    for shape in map(parse_shape, settings.shapes):
        rows.append(in_process(train, shape, *options))
        print(line(rows[-1]), flush=True)
    most = max(rows, key=lambda row: row["peak_bytes"])
    sentence = (
        f"training on {most['shape']} in batches of {settings.batch} holds "
        f"{most['peak_bytes'] / 1e9:.2f} GB and takes {most['images_per_second']:.3g} images a "
        "second"
    )
    return Finding(described, sentence, {"rows": rows}, {"rows": rows})


def train(shape: Shape, batch: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Epochs of at least `seconds`, about; their median rate, and the process' peak of memory.

    The first, of three steps, tells the rate, and so how many images the others take.
    """
    rate = rates_and_weights(shape, batch, steps=3, epochs=2)[0][-1]
    steps = max(3, int(rate * seconds / batch))
    rates, weights = rates_and_weights(shape, batch, steps, 1 + repeats)
    return {
        "shape": str(shape),
        "batch": batch,
        "weights": weights,
        "images": steps * batch,
        "images_per_second": statistics.median(rates[1:]),
        "samples": rates[1:],
        "peak_bytes": peak_bytes(),
    }


def rates_and_weights(shape: Shape, batch: int, steps: int, epochs: int) -> tuple[list[float], int]:
    """Images a second of each epoch, and the number of weights."""
    generator = np.random.default_rng(0)
    sizes = {"train": steps * batch, "validation": batch, "test": batch}
    images = {
        name: flaxae.Split(generator.integers(0, 256, (size, *shape), np.uint8))
        for name, size in sizes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        config = flaxae.preset("standard", batch_size=batch, epochs=epochs, workdir=folder)
        run = flaxae.train(config, images=images)
        weights = sum(leaf.size for leaf in jax.tree.leaves(run.variables))
        return [record["images_per_second"] for record in run.history], weights


def line(row: dict[str, Any]) -> str:
    """A row of the table, in Markdown."""
    peak = row["peak_bytes"] / 1e9
    cells = row["shape"], f"{row['weights']:,}", f"{row['images_per_second']:,.0f}", f"{peak:.2f}"
    return f"| {' | '.join(cells)} |"
