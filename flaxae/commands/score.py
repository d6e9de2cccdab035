"""The command `score`."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaxae.commands.options import RunOptions
from flaxae.errors import PathText, require
from flaxae.evaluation.scoring import (
    DEFAULT_SCORE,
    FALSE_ALARMS,
    MAPS,
    RAREST,
    SCORES,
    WORST_PIXELS,
)
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.api.score import Scores

_LISTED = 10  # images in the terminal


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, ProcessesConfig):
    """Score how odd images are, where, and which are anomalies; the last line is one JSON object.

    Raises:
        InputError: a value is out of range.
    """

    score: str = field(default=DEFAULT_SCORE, metadata={"choices": SCORES})
    """What decides; higher is odder. The tables have all of them."""
    false_alarms: float = FALSE_ALARMS
    """Share of normal images that may be called anomalies; it sets the threshold."""
    worst_pixels: float = WORST_PIXELS
    """Percent of an image's pixels whose mean error is the score worst_pixels."""
    normal_classes: tuple[str, ...] = ()
    """Names or numbers of the normal classes, to measure the detection of all others (none: the
    classes that the run was trained on)."""
    masks: PathText | None = None
    """Folder of masks of the defects, paired with --images by file name."""
    output_dir: PathText | None = None
    """Folder to write; earlier scores there are replaced (none: <workdir>/scores)."""
    maps: int = MAPS
    """Pictures of error maps, of so many images, the highest scores first."""
    npz: bool = False
    """Write scores.npz too: every score, and the error maps as arrays."""
    overwrite: bool = False
    """Replace also files of these names that flaxae has not written."""

    def check(self) -> None:
        super().check()
        require(self.score in SCORES, "--score", self.score, f"one of {', '.join(SCORES)}")
        rate, percent = self.false_alarms, self.worst_pixels
        expected = f"a share of at least {RAREST:g} and below 1, as 0.01"
        require(RAREST <= rate < 1, "--false-alarms", rate, expected)
        require(0 < percent <= 100, "--worst-pixels", percent, "percent above 0, at most 100")
        require(self.maps >= 0, "--maps", self.maps, "a whole number from 0")


def run(options: Options) -> int:
    """Writes the scores, and prints the oddest images and how sure the threshold is."""
    from pathlib import Path

    from flaxae.commands.opened import open_for
    from flaxae.data import is_path
    from flaxae.data.sources import open_images
    from flaxae.data.splits import select
    from flaxae.export import scores as files
    from flaxae.export.folder import refuse_foreign, resolved
    from flaxae.export.outputs import require_outside
    from flaxae.report.terminal import say
    from flaxae.runs.disk_faults import warn
    from flaxae.training.processes import is_first

    trained = open_for(options)
    folder = Path(options.output_dir or f"{options.workdir}/scores").expanduser().absolute()
    dataset = trained.config.data.dataset
    require_outside(folder, options.images, dataset if is_path(dataset) else None)
    # Now, and not only after the forward passes.
    refuse_foreign(resolved(folder), files.FILES, files.WORST, options.overwrite, files.EXTRAS)
    if options.images is None:
        part = select(trained.splits, options.split)
        if options.split in ("train", "all"):
            warn(
                "each training image is its own nearest neighbor, and the model was fitted to it: "
                "its score is lower than that of a new image"
            )
    else:
        part = open_images(options.images, trained.config.data, trained.image_shape)
    scores = trained.score(
        part,
        score=options.score,
        false_alarms=options.false_alarms,
        worst_pixels=options.worst_pixels,
        normal_classes=options.normal_classes,
        masks=options.masks,
    )
    written = trained.write_scores(
        folder,
        scores,
        part,
        maps=options.maps,
        npz=options.npz,
        overwrite=options.overwrite,
    )
    if not is_first():
        return 0
    _show(f"{options.title}, after epoch {trained.epoch}", scores, part.files)
    names = [*files.FILES]
    if options.npz:
        names.append(files.NPZ)
    if options.maps:
        names.append(f"{files.MAPS}/")
    say(f"everything is in {written}: {', '.join(names)}")
    where = {"split": options.what, "epoch": trained.epoch, "step": trained.step}
    say(json.dumps(where | _summary(scores) | {"output_dir": str(written)}, allow_nan=False))
    return 0


def _show(title: str, scores: "Scores", files: tuple[str, ...] | None) -> None:
    """The oddest images, the threshold and its warning, and how well the scores detect."""
    import numpy as np

    from flaxae.report.terminal import say, show_table
    from flaxae.runs.disk_faults import warn

    rows = []
    for row in np.argsort(scores.ranks)[:_LISTED]:
        name = str(row) if files is None else files[row]
        known = "" if scores.anomalies is None else ("anomaly" if scores.anomalies[row] else "")
        rows.append((str(scores.ranks[row]), f"{scores.values[row]:#.4g}", known, name))
    say(f"{title}: {scores.score}, in {scores.unit}; higher is odder")
    show_table("", ("rank", "score", "", "file"), rows)
    limit = scores.threshold
    if limit.rate is None:
        warn(
            f"no threshold: {_digits(limit.wanted)}% false alarms take {limit.needed:,} held-out "
            f"normal images, and the run has {limit.images:,}; train with more images, or give a "
            "larger --false-alarms"
        )
    else:
        say(
            f"threshold  {limit.value:.4g}, from {limit.images:,} held-out images: "
            f"{_percent(limit.rate)} of normal images lie above it, with 95 % confidence"
        )
        assert scores.anomalies is not None
        say(f"anomalies  {scores.anomalies.sum():,} of {len(scores.values):,} images")
    if scores.false_alarms is not None:
        say(f"false alarms among images known to be normal: {_percent(scores.false_alarms)}")
    _show_detection(scores)


def _show_detection(scores: "Scores") -> None:
    from flaxae.report.terminal import say, show_table

    if scores.detection:
        rows = [
            (f"{name} <" if name == scores.score else name, *(f"{v:.4f}" for v in found))
            for name, found in scores.detection.items()
        ]
        columns = ("score", "AUROC", "average precision", "false alarms at 95 % detection")
        show_table("", columns, rows)
    elif scores.anomalous is not None:
        kind = "anomalies" if scores.anomalous.all() else "normal"
        say(f"no AUROC: all images are {kind}")
    if scores.localization is not None:
        pixel, region = scores.localization
        say(f"error maps  AUROC of pixels {pixel:.4f}, AUPRO up to 30 % false pixels {region:.4f}")


def _percent(interval: Any) -> str:
    rate, low, high = map(_digits, interval)
    return f"{rate} % (between {low} and {high} %)"


def _digits(share: float) -> str:
    """A share as percent, with as many digits as it takes."""
    percent = 100 * share
    return f"{percent:.2f}" if percent >= 0.1 or percent == 0 else f"{percent:.2g}"


def _summary(scores: "Scores") -> dict[str, Any]:
    limit = scores.threshold
    return {
        "images": len(scores.values),
        "score": scores.score,
        "unit": scores.unit,
        "threshold": limit.value,
        "wanted_false_alarms": limit.wanted,
        "promised_false_alarms": None if limit.rate is None else limit.rate._asdict(),
        "held_out_images": limit.images,
        "anomalies": None if scores.anomalies is None else int(scores.anomalies.sum()),
        "false_alarms": None if scores.false_alarms is None else scores.false_alarms._asdict(),
        "detection": {name: found._asdict() for name, found in scores.detection.items()},
        "localization": None if scores.localization is None else scores.localization._asdict(),
    }
