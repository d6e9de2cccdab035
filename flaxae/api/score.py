"""Scores images by how odd they are: what `Run.score` returns, and how it is computed."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from flaxae.api.together import require_same_weights
from flaxae.data.file_names import printable
from flaxae.data.sources.masks import read_masks
from flaxae.data.splits import Split, in_classes
from flaxae.errors import InputError, RunError
from flaxae.evaluation.pca import principal_plane
from flaxae.evaluation.representation import sample_rows
from flaxae.evaluation.scoring import DEFAULT_SCORE, FALSE_ALARMS, SCORES, WORST_PIXELS
from flaxae.evaluation.scoring.baselines import baseline_scores
from flaxae.evaluation.scoring.detection import Detection, Localization, detection, localization
from flaxae.evaluation.scoring.measuring import Maps, error_maps, every_error, measure
from flaxae.evaluation.scoring.scores import MOST_REFERENCES, Measured, Reference
from flaxae.evaluation.scoring.threshold import (
    Interval,
    Threshold,
    exceeds,
    observed_rate,
    threshold,
)
from flaxae.export import scores as files
from flaxae.export.folder import refuse_foreign, replace_folder, resolved
from flaxae.runs.disk_faults import reason, warn
from flaxae.runs.reference import Kept, read_reference, reference_path, write_reference
from flaxae.training import processes

if TYPE_CHECKING:
    from flaxae.api.run import Run

_BRIGHTEST = 99.9  # percentile of held-out pixel errors, of which three times is the maps' scale
_MAPPED = 256  # held-out images of that percentile


class ScoreOptions(NamedTuple):
    """What is scored, and how."""

    score: str = DEFAULT_SCORE
    false_alarms: float = FALSE_ALARMS
    worst_pixels: float = WORST_PIXELS  # percent
    normal_classes: tuple[str, ...] = ()
    masks: str | None = None


class Scores(NamedTuple):
    """The scores of images, in the order of the images.

    Of several processes, only process 0 has `anomalous`, `detection`, `false_alarms` and
    `localization`.

    Attributes:
        score: Name of the score, a key of `flaxae.evaluation.scoring.SCORES`.
        unit: Its unit. Higher is odder.
        values: One number an image.
        threshold: The `value` above which an image is an anomaly (None: too few held-out normal
            images for the rate), the `wanted` rate of false alarms, the number of held-out
            `images`, and the `rate` that they allow to promise, with its interval.
        anomalies: Whether each image is above the threshold; None without one.
        ranks: 1 is the oddest image.
        every: The values of every score, by name.
        anomalous: What labels or masks say of each image; None if they say nothing.
        detection: If they do: how well each score and each baseline detects, by name.
        false_alarms: The share of normal images above the threshold, with its interval.
        localization: How well the error maps agree with the masks; None without masks.
        vectors: The embedding of each image.
        scale: The error of a pixel that the maps draw in the brightest color.
    """

    score: str
    unit: str
    values: Float32[np.ndarray, " images"]
    threshold: Threshold
    anomalies: Bool[np.ndarray, " images"] | None
    ranks: Int[np.ndarray, " images"]
    every: dict[str, Float32[np.ndarray, " images"]]
    anomalous: Bool[np.ndarray, " images"] | None
    detection: dict[str, Detection]
    false_alarms: Interval | None
    localization: Localization | None
    vectors: Float32[np.ndarray, "images dimensions"]
    scale: float


def score_split(run: "Run", split: Split, options: ScoreOptions) -> Scores:
    """The scores of the images of a split.

    Raises:
        InputError: the run's own images are needed and cannot be read, there are no such classes,
            or masks do not fit.
    """
    masks, anomalous = None, None
    if processes.is_first():
        if split.targets is not None or run.config.data.targets is not None:
            warn(
                "the run was trained to reconstruct targets, and scores compare its "
                "reconstructions with the images themselves: what it removes, as noise, counts as "
                "odd"
            )
        masks = _masks(run, split, options)
        anomalous = _anomalous(run, split, options, masks)
    kept = reference(run, options.worst_pixels)
    normal = Reference(kept.vectors, kept.held_out)
    measured = _measure(run, split, options.worst_pixels)
    every = {name: entry(measured, normal) for name, entry in SCORES.items()}
    values = every[options.score]
    limit = threshold(SCORES[options.score](kept.held_out, normal), options.false_alarms)
    errors = None if options.masks is None else every_map(run, split)
    found, false_alarms = {}, None
    if anomalous is not None:
        found = _detection(every | _baselines(run, split), anomalous)
        false = values[~anomalous]
        if limit.value is not None and len(false):
            false_alarms = observed_rate(int(exceeds(false, limit.value).sum()), len(false))
    return Scores(
        options.score,
        SCORES[options.score].unit,
        values,
        limit,
        None if limit.value is None else exceeds(values, limit.value),
        _ranks(values),
        every,
        anomalous,
        found,
        false_alarms,
        None if masks is None or errors is None else localization(errors, masks),
        measured.vectors,
        kept.scale,
    )


def reference(run: "Run", percent: float) -> Kept:
    """What is normal for a run: read from its folder, else computed and kept there.

    Raises:
        InputError: the run's own images are needed and cannot be read.
        RunError: this process does not see the file that process 0 reads.
    """
    path = reference_path(run.workdir, run.step, percent)
    kept = read_reference(path)
    if kept is not None and kept.vectors.shape[1:] != (run.dimensions,):
        kept = None
    if processes.from_first("what scores compare with", kept is not None):
        if kept is None:
            raise RunError(f"{processes.name()} cannot read {path}, which process 0 reads")
        return kept
    try:
        train, held_out = run.splits["train"], run.splits["validation"]
    except InputError as error:
        raise InputError(
            f"{error}; score needs the run's own images once, unless it was trained with --scoring"
        ) from error
    rows = sample_rows(len(train.images), MOST_REFERENCES)
    vectors = _measure(run, train.take(rows), percent).vectors
    some = held_out.take(sample_rows(len(held_out.images), _MAPPED))
    brightest = 3 * float(np.percentile(every_map(run, some), _BRIGHTEST))
    kept = Kept(vectors, _measure(run, held_out, percent), min(max(brightest, 1e-3), 1.0))
    try:
        if processes.is_first():
            write_reference(path, kept)
    except OSError as error:
        warn(f"{path} cannot be written: {reason(error)}; it is computed anew each time")
    return kept


def maps(run: "Run", images: Any) -> Maps:
    """Reconstructions and error maps of images in memory, computed by this process."""
    return error_maps(run.programs.state, images, run.programs.batch_size)


def every_map(run: "Run", split: Split) -> Float32[np.ndarray, "images height width"]:
    """The error maps of a split, which all processes compute together."""
    require_same_weights(run.step, split)
    return every_error(
        run.programs.state, split.images, run.programs.batch_size, run.programs.placement.share
    )


def _measure(run: "Run", split: Split, percent: float) -> Measured:
    require_same_weights(run.step, split)
    share = run.programs.placement.share
    return measure(run.programs.state, split.images, run.programs.batch_size, percent, share)


def _ranks(values: Float32[np.ndarray, " images"]) -> Int[np.ndarray, " images"]:
    """1 for the highest; of equal values, the first image has the lower rank."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def _masks(
    run: "Run", split: Split, options: ScoreOptions
) -> Bool[np.ndarray, "images height width"] | None:
    if options.masks is None:
        return None
    return read_masks(options.masks, split.files, run.config.data, run.image_shape)


def _anomalous(
    run: "Run", split: Split, options: ScoreOptions, masks: np.ndarray | None
) -> Bool[np.ndarray, " images"] | None:
    """What is known of each image: by its class, or else by its mask."""
    if options.normal_classes:
        return ~in_classes(split, options.normal_classes, "--normal-classes")
    if masks is not None:
        return np.asarray(masks.any(axis=(1, 2)))
    own = run.config.data.classes
    if own and split.labels is not None and split.class_names == run.class_names:
        return ~in_classes(split, own, "--classes")
    return None


def _baselines(run: "Run", split: Split) -> dict[str, Float32[np.ndarray, " images"]]:
    try:
        train, held_out = run.splits["train"], run.splits["validation"]
    except InputError as error:
        warn(f"no baselines: {error}")
        return {}
    return baseline_scores(train.images, held_out.images, split.images)


def _detection(
    every: dict[str, Float32[np.ndarray, " images"]], anomalous: Bool[np.ndarray, " images"]
) -> dict[str, Detection]:
    found = {name: detection(values, anomalous) for name, values in every.items()}
    return {name: value for name, value in found.items() if value is not None}


def write_scores(
    run: "Run",
    folder: Path,
    split: Split,
    scores: Scores,
    most_maps: int,
    npz: bool,
    overwrite: bool,
) -> Path:
    """Writes the files of scored images; raises as `Run.write_scores`."""
    if len(split.images) != len(scores.values):
        raise InputError(
            f"the scores are of {len(scores.values)} images, and these are {len(split.images)}; "
            "give the same images as to score"
        )
    target = resolved(folder)
    arrays = every_map(run, split) if npz else None
    if not processes.is_first():  # which alone writes
        return target
    refuse_foreign(target, files.FILES, files.WORST, overwrite, files.EXTRAS)
    scored = files.Scored(
        split,
        scores.score,
        scores.values,
        scores.threshold.value,
        scores.anomalies,
        scores.ranks,
        scores.every,
        principal_plane(scores.vectors)[0],
        scores.scale,
    )
    compare, size = partial(maps, run), run.programs.batch_size
    try:
        with replace_folder(target, files.FILES, files.WORST, overwrite, files.EXTRAS) as scratch:
            files.write_csv(scratch / files.CSV, scored)
            files.write_parquet(scratch / files.PARQUET, scored)
            files.write_pictures(scratch, scored, compare, most_maps, size)
            if arrays is not None:
                files.write_arrays(scratch / files.NPZ, scored, arrays)
    except OSError as error:
        raise RunError(
            f"{printable(target)} could not be written ({error.strerror or error}); make room "
            "there and repeat the command, or give another --output-dir"
        ) from error
    return target
