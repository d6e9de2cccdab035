"""Makes the page that shows runs beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxae.api.report.page import report_target
from flaxae.config.flags import flag_values
from flaxae.data.splits import select
from flaxae.export.outputs import write_new
from flaxae.report.page.about import made
from flaxae.report.page.comparison import Row, compared, differing, unique_names
from flaxae.report.page.curves import compared_charts
from flaxae.report.page.examples import EXAMPLES, strip_uri
from flaxae.report.page.html import render
from flaxae.report.page.numbers import Number, numbers
from flaxae.runs.workdir import read_dataset_info

if TYPE_CHECKING:
    from flaxae.api.run import Run

FILE = "comparison.html"  # in the current folder
_NOTE = "Bold is the best of a row. Losses can be compared only if they are of one objective."
_NOTE_OF_OTHER_IMAGES = (
    "These runs were measured on different images, targets or noise, so no number is marked as the "
    "best of its row."
)


def write_comparison(
    runs: "Sequence[Run]", path: str | Path | None, split: str, *, overwrite: bool
) -> Path:
    """Writes a page with the numbers, curves and examples of runs beside each other.

    Raises:
        InputError: there is no such split, or the path cannot be used.
        RunError: the file cannot be written, as on a full disk.
    """
    target = report_target(Path(), FILE if path is None else path, overwrite=overwrite)
    write_new(target, _page(runs, split), "--output")
    return target


def _page(runs: "Sequence[Run]", split: str) -> bytes:
    names = unique_names([run.workdir.name for run in runs])
    of_same_images = len({_measured(run, split) for run in runs}) == 1
    return render(
        "compare.html",
        {
            "title": f"{len(runs)} runs of flaxae",
            "subtitle": f"Measured on the {split} split.",
            "runs": [{"name": name} for name in names],
            "flags": _flags(runs),
            "numbers": compared([_numbers(run, split) for run in runs], of_same_images),
            "note": _NOTE if of_same_images else _NOTE_OF_OTHER_IMAGES,
            "charts": compared_charts(
                {name: run.history for name, run in zip(names, runs, strict=True)}
            ),
            "strips": _strips(names, runs),
            "made": made(),
            "data": {},
            "blocks": [],
        },
    )


def _measured(run: "Run", split: str) -> tuple[Any, ...]:
    """What tells the inputs and targets of a split from those of another run, without reading."""
    images, data = select(run.splits, split).images, run.config.data
    kept = read_dataset_info(run.workdir)
    digest = None if kept is None else kept.digest
    noise_factor = run.config.objective.noise_factor
    classes = () if split == "test" else data.classes  # of which the test split is independent
    return data.dataset, tuple(images.shape), classes, digest, data.targets, noise_factor


def _flags(runs: "Sequence[Run]") -> list[Row]:
    flags = [flag_values(run.config) for run in runs]
    for values in flags:
        del values["workdir"]  # which the names tell
    return differing(flags)


def _numbers(run: "Run", split: str) -> list[Number]:
    quality: dict[str, Any] = run.evaluate(split)
    values: dict[str, Mapping[str, float]] = {
        name: {"embedding": value} for name, value in quality.items() if name != "examples"
    }
    values |= run.evaluate_embedding(split).scores
    return numbers(values, run.config.objective.loss)


def _strips(names: Sequence[str], runs: "Sequence[Run]") -> list[dict[str, str]]:
    """The examples of each run under those of the one before; the images once if they are equal."""
    strips: list[dict[str, str]] = []
    last: np.ndarray | None = None
    for name, run in zip(names, runs, strict=True):
        *inputs, drawn = run.programs.example_rows(select(run.splits, "test"), EXAMPLES).items()
        if last is None or not np.array_equal(last, inputs[0][1]):
            last = inputs[0][1]
            alt = f"{len(last)} images of the test split"
            strips.append({"name": "images", "picture": strip_uri(last), "alt": alt})
        alt = f"The images as {name} reconstructs them"
        text = f"{name}, epoch {run.epoch}"
        strips.append({"name": text, "picture": strip_uri(drawn[1]), "alt": alt})
    return strips
