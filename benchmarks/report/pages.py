"""Makes pages of a short run, and measures each in the browser."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import flaxae
from benchmarks.common.device import describe_device
from benchmarks.common.report import Finding
from benchmarks.common.timing import seconds_of
from benchmarks.report import Settings
from benchmarks.report.browser import Seen, chromium, look_at
from benchmarks.report.in_bokeh import bokeh_page
from flaxae.errors import InputError
from flaxae.report.terminal import show_table


class Row(NamedTuple):
    """A page, and how it was in the browser."""

    page: str
    points: int
    bytes: int
    seconds: float  # to make it
    seen: Seen


def measure_pages(settings: Settings) -> Finding:
    """Sizes and times by the number of points; beside Bokeh's, if it is installed."""
    with _folder(settings.files_dir) as folder, chromium() as browser:
        run = _short_run(folder / "run", settings.manual_dir)
        whole = np.concatenate([np.asarray(run.splits[name].images) for name in run.splits])
        labels = np.concatenate([run.splits[name].labels for name in run.splits])  # pyright: ignore
        rows = []
        for count in settings.points:
            if count > len(whole):
                raise InputError(
                    f"--points got {count}; the dataset has {len(whole):,} images: give "
                    "--manual-dir"
                )
            part = flaxae.Split(whole[:count], labels[:count], run.class_names)
            path = folder / f"report-{count}.html"
            seconds = seconds_of(
                lambda part=part, count=count, path=path: run.report(
                    path, images=part, thumbnails=count
                )
            )
            seen = look_at(browser, path, settings)
            rows.append(Row("flaxae", count, path.stat().st_size, seconds, seen))
            page = bokeh_page(run.embedding(images=part).vectors[:, :2], labels[:count])
            if page is not None:
                path = folder / f"bokeh-{count}.html"
                path.write_text(page, encoding="utf-8")
                seen = look_at(browser, path, settings)
                rows.append(Row("Bokeh", count, path.stat().st_size, 0.0, seen))
    _show(rows)
    last = next(row for row in reversed(rows) if row.page == "flaxae")
    hover = max(last.seen.hover_ms)
    return Finding(
        device=describe_device(),
        sentence=(
            f"the page of {last.points:,} points has {last.bytes / 1e6:.1f} MB, and the slowest of "
            f"{len(last.seen.hover_ms)} hovers is answered after {hover:.0f} ms"
        ),
        content={"rows": rows},
        brief={"rows": [_brief(row) for row in rows]},
    )


def _brief(row: Row) -> dict[str, Any]:
    seen = row.seen
    return {
        "page": row.page,
        "points": row.points,
        "bytes": row.bytes,
        "make_s": round(row.seconds, 2),
        "ready_s": round(seen.ready_s, 2),
        "draw_ms": _median(seen.draw_ms),
        "hover_ms": _median(seen.hover_ms),
        "slowest_hover_ms": max(seen.hover_ms, default=None),
        "runs_under_policy": seen.runs_under_policy,
        "violations": seen.violations,
    }


def _show(rows: list[Row]) -> None:
    cells = []
    for row in rows:
        brief = {k: "" if v is None else v for k, v in _brief(row).items()}
        brief["bytes"] = f"{row.bytes / 1e6:.2f}"
        brief["violations"] = (
            "" if row.seen.violations is None else ", ".join(row.seen.violations) or "none"
        )
        cells.append(tuple(map(str, brief.values())))
    heads = ("page", "points", "MB", "made in s", "ready in s", "draw ms", "hover ms")
    show_table("", (*heads, "slowest", "strict policy", "axe-core"), cells)


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 1) if values else None


def _short_run(workdir: Path, manual_dir: Path | None) -> flaxae.Run:
    """A fully connected model after an epoch: the page costs as much as that of a good one."""
    data = flaxae.DataConfig(dataset="mnist_5k")
    if manual_dir is not None:
        data = flaxae.DataConfig(dataset="fashion_mnist", manual_dir=str(manual_dir))
    model = flaxae.FullyConnectedConfig(latent_dim=64)
    optimizer = flaxae.OptimizerConfig(batch_size=128, learning_rate=2e-3)
    return flaxae.train(
        flaxae.TrainConfig(
            model=model, data=data, optimizer=optimizer, epochs=1, workdir=str(workdir)
        )
    )


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="flaxae-report-") as folder:
            yield Path(folder)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
