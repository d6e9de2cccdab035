"""`Run`: a trained model and what can be done with it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from flaxae.api.programs import Floats, Programs
from flaxae.config import TrainConfig
from flaxae.data.images import as_array, check_images
from flaxae.data.sources import open_images
from flaxae.data.sources.array import number_labels, require_length
from flaxae.data.splits import Pixels, Split, select
from flaxae.data.store.images import StoredImages
from flaxae.errors import InputError, require
from flaxae.evaluation.embedding import Embedding
from flaxae.evaluation.scoring import (
    DEFAULT_SCORE,
    FALSE_ALARMS,
    MAPS,
    RAREST,
    SCORES,
    WORST_PIXELS,
)
from flaxae.export.pictures import write_pictures
from flaxae.models.autoencoder import Autoencoder
from flaxae.report.figures import reconstruction_grid
from flaxae.runs.checkpoint_folder import Restored
from flaxae.runs.profile import Operation, Profile
from flaxae.runs.workdir import EVALUATION, DatasetInfo
from flaxae.training import processes
from flaxae.training.state import evaluated

if TYPE_CHECKING:
    from flaxae.api.export import ExportedEmbedding  # imports Arrow
    from flaxae.api.score import Scores  # imports scikit-learn
    from flaxae.evaluation.embedding_quality import EmbeddingQuality

logger = logging.getLogger("flaxae.data")
Splits = Mapping[str, Split]


class Run:
    """A trained autoencoder: its weights, its config, and what can be done with them.

    Made by `train` and `load`. Images are [N, H, W] or [N, H, W, C] of the run's shape, uint8 or
    floats in 0..1, any N; results are NumPy arrays. In the examples, `run` is a run of 8x8 images
    with an embedding of 64 numbers, and `images` has 60 of them.

    Attributes:
        config: The `TrainConfig`, as the workdir has it.
        workdir: The run's folder.
        epoch: Epochs completed when the checkpoint was saved.
        step: Updates of the weights by then.
        history: A dictionary of numbers for each epoch: the lines of metrics.jsonl.
        model: The linen module, with the methods `encode` and `decode`.
        variables: Its variables; averaged weights if the run averages them. So
            `run.model.apply(run.variables, x, method="encode")` works under jit, vmap and grad.
        image_shape: Height, width and channels of its images.
        class_names: Names of the classes; empty if there are no labels.
        programs: What the methods compute with. It may change from version to version.

    Example:
        >>> run.image_shape, run.epoch, run.encode(images).shape
        ((8, 8, 1), 2, (60, 64))
    """

    def __init__(
        self,
        workdir: Path,
        config: TrainConfig,
        dataset: DatasetInfo,
        model: Autoencoder,
        restored: Restored,
        splits: Callable[[], Splits],
        profile: Profile | None,
    ) -> None:
        self.folder: object = None  # what keeps a temporary workdir alive
        self.workdir = workdir
        self.config = config
        self.epoch = restored.progress.epoch
        self.step = int(restored.state.step)
        self.history = restored.history or []
        self.model = model
        self.image_shape = dataset.image_shape
        self.class_names = dataset.class_names
        self.programs = Programs(config, model, evaluated(restored.state), self.image_shape)
        self._open_splits = splits
        self._profile = profile

    def __repr__(self) -> str:
        return f"<Run {str(self.workdir)!r}: {self.config.model.name}, epoch {self.epoch}>"

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for `model.apply`."""
        return {"params": self.programs.state.params}

    @cached_property
    def splits(self) -> Splits:
        """The splits train, validation and test of the run's dataset; read when first needed.

        Raises:
            InputError: the images came from Python and were not given to `load`.
        """
        return self._open_splits()

    def encode(self, images: Any) -> Floats:
        """The embeddings [N, dimensions] of images.

        Raises:
            InputError: the images have another shape, type or range; the message says what came.

        Example:
            >>> run.encode(images[:3]).shape
            (3, 64)
        """
        return self.programs.encode(self._check(images))

    def decode(self, embedding: Any) -> Floats:
        """The images [N, H, W, C] of embeddings [N, dimensions], pixels in 0..1.

        Raises:
            InputError: the embeddings have another shape or type, or are not finite.

        Example:
            >>> run.decode(run.encode(images[:3])).shape
            (3, 8, 8, 1)
        """
        array = as_array(embedding, "embedding")
        expected = f"floats of the shape [N, {self.dimensions}]"
        if array.ndim != 2 or array.shape[1] != self.dimensions or array.dtype.kind != "f":
            raise InputError(f"embedding is {array.dtype} {array.shape}; expected {expected}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise InputError("embedding has NaN or infinite numbers; expected finite float32")
        return self.programs.decode(array)

    def reconstruct(self, images: Any) -> Floats:
        """The reconstructions of images, in the same shape as they came, pixels in 0..1.

        Raises:
            InputError: the images have another shape, type or range; the message says what came.

        Example:
            >>> run.reconstruct(images[:3]).shape
            (3, 8, 8)
        """
        pixels = self.programs.reconstruct(self._check(images))
        return pixels if np.ndim(images) == 4 else pixels[..., 0]

    def evaluate(self, split: str = "test", *, images: Any = None) -> dict[str, Any]:
        """The reconstruction quality of a split (train, validation, test or all), or of images.

        Inputs are noisy if the run trained with noise; targets are clean. The keys are "loss" and
        whatever else the objective returns; "mse" and every other measure; "rmse" and "psnr"
        (dB), which follow from the mean squared error; and "examples". Errors are in units of the
        pixel range 0..1.

        Raises:
            InputError: there is no such split, or the images cannot be used.

        Example:
            >>> sorted(run.evaluate(images=images))
            ['examples', 'loss', 'mse', 'psnr', 'rmse', 'ssim']
        """
        part = self._split(split, images, None)
        if self.config.data.targets is not None and part.targets is None:
            logger.warning("the images have no targets, and are compared with themselves")
        return self.programs.evaluate(part)

    def embedding(self, split: str = "test", *, images: Any = None) -> Embedding:
        """The vectors of a split or of images, and each image's mean squared error.

        Raises:
            InputError: there is no such split, or the images cannot be used.

        Example:
            >>> run.embedding("test").vectors.shape[1]
            64
        """
        return self.programs.embed(self._split(split, images, None))

    def evaluate_embedding(self, split: str = "test") -> "EmbeddingQuality":
        """How much a split's embedding says about classes and neighborhoods, beside PCA and pixels.

        Raises:
            InputError: there is no such split.

        Example:
            >>> run.evaluate_embedding("test").dimensions
            64
        """
        # scikit-learn takes a second to import, which the other methods do not need.
        from flaxae.evaluation.embedding_quality import Examples, embedding_quality

        def examples(name: str, labeled: bool) -> Examples:
            part = select(self.splits, name)
            vectors = self.embedding(name).vectors
            return Examples(vectors, part.images, part.labels if labeled else None)

        # A training example would be its own nearest neighbor.
        unseen = split in ("validation", "test")
        return embedding_quality(
            examples("train", True),
            examples(split, unseen),
            len(self.class_names),
            self._folder_beside_the_data(),
        )

    def dead_units(self, split: str = "test", *, images: Any = None) -> dict[str, int]:
        """How many units of each hidden layer give the same number for all of these images.

        A unit is a feature map of a convolution, or an output of a dense layer. It counts as dead
        if its activations differ by less than 1e-6.

        Raises:
            InputError: there is no such split, or the images cannot be used.

        Example:
            >>> run.dead_units("validation")["encoder/blocks_0/layers_0/activation"]
            0
        """
        return self.programs.dead_units(self._split(split, images, None))

    def export_embedding(
        self,
        folder: str | Path,
        split: str = "test",
        *,
        images: Any = None,
        labels: Any = None,
        limit: int | None = None,
        overwrite: bool = False,
    ) -> "ExportedEmbedding":
        """Writes the embedding of a split, or of images, for the viewers; replaces an earlier one.

        Args:
            folder: Where to write; it is complete or absent. An export inside the workdir is found
                by `tensorboard --logdir WORKDIR`.
            split: train, validation, test or all.
            images: Images to embed in place of a split.
            labels: Their labels: whole numbers from 0, or names.
            limit: Only the first so many images, from 2 on.
            overwrite: Replace also files of these names that flaxae has not written.

        Raises:
            InputError: the split, the images or the folder cannot be used.
            RunError: the files cannot be written, as on a full disk.

        Example:
            >>> exported = run.export_embedding(tmp / "embedding", images=images)
            >>> exported.points
            60
        """
        from flaxae.api.export import export_embedding  # Arrow, which other methods do not need

        if limit is not None:
            fits = isinstance(limit, int) and limit >= 2
            require(fits, "limit", limit, "a whole number from 2: viewers refuse one point")
        if images is None and labels is not None:
            raise InputError("labels came without images; give both, or neither")
        name = split if images is None else "images"
        part = self._split(split, images, labels)
        parts = self.splits if images is None else {name: part}
        return export_embedding(self, Path(folder), part, name, parts, limit, overwrite)

    def picture(
        self, split: str = "test", *, examples: int = 10, images: Any = None
    ) -> Image.Image:
        """A picture of some images above their reconstructions, equally many of each class.

        Raises:
            InputError: there is no such split, or the images cannot be used.

        Example:
            >>> run.picture(images=images, examples=5).mode
            'RGB'
        """
        fits = isinstance(examples, int) and examples >= 1
        require(fits, "examples", examples, "a whole number from 1")
        rows = self.programs.example_rows(self._split(split, images, None), examples)
        title = f"{split} split" if images is None else "images"
        return reconstruction_grid(rows, f"{title}, epoch {self.epoch}")

    def report(
        self,
        path: str | Path | None = None,
        split: str = "test",
        *,
        images: Any = None,
        labels: Any = None,
        thumbnails: int = 20_000,
        overwrite: bool = False,
    ) -> Path:
        """Writes one HTML file that shows the run: numbers, curves, examples, and a map of images.

        It needs no other file and no network.

        Args:
            path: The file, "*.html" (None: report.html in the workdir).
            split: train, validation, test or all: the points of the map.
            images: Images in place of a split.
            labels: Their labels: whole numbers from 0, or names.
            thumbnails: So many points at most have a picture.
            overwrite: Replace also a file that flaxae has not written.

        Returns:
            The path of the file.

        Raises:
            InputError: the split, the images or the path cannot be used, or this process has
                joined others.
            RunError: the file cannot be written, as on a full disk.

        Example:
            >>> run.report(tmp / "report.html", images=images).name
            'report.html'
        """
        from flaxae.api.report.page import write_report  # Jinja, which other methods do not need

        _require_one_process("a report")
        fits = isinstance(thumbnails, int) and thumbnails >= 0
        require(fits, "thumbnails", thumbnails, "a whole number from 0")
        if images is None and labels is not None:
            raise InputError("labels came without images; give both, or neither")
        return write_report(self, path, split, images, labels, thumbnails, overwrite)

    def write_reconstructions(
        self,
        folder: str | Path,
        split: str = "test",
        *,
        images: Any = None,
        overwrite: bool = False,
    ) -> int:
        """Writes the reconstruction of each image as a PNG, "<row>_<file name>.png".

        Of the files that are there, it replaces its own earlier ones, and all with `overwrite`.

        Returns:
            The number of pictures.

        Raises:
            InputError: the split, the images or the folder cannot be used, or this process has
                joined others.

        Example:
            >>> run.write_reconstructions(tmp / "pictures", images=images[:3])
            3
        """
        _require_one_process("a folder of reconstructions")
        part = self._split(split, images, None)
        draw = self._reconstructed_bytes
        return write_pictures(
            Path(folder), part, draw, self.programs.batch_size, overwrite=overwrite
        )

    def _reconstructed_bytes(self, images: Any) -> np.ndarray:
        return np.round(self.programs.reconstruct(images) * 255).astype("u1")

    def score(
        self,
        images: Any = None,
        *,
        split: str = "test",
        labels: Any = None,
        score: str = DEFAULT_SCORE,
        false_alarms: float = FALSE_ALARMS,
        worst_pixels: float | int = WORST_PIXELS,
        normal_classes: Sequence[str] = (),
        masks: str | Path | None = None,
    ) -> "Scores":
        """How odd images are, beside the training images, and which are anomalies.

        The threshold comes from the validation split, whose images have to be normal. They have
        chosen the best checkpoint, but no weight was fitted to them. Several processes share the
        images; process 0 alone finds out how well the scores detect.

        Args:
            images: An array, or the path of a folder or file; None: a split of the run.
            split: train, validation, test or all.
            labels: Of the images of an array.
            score: A key of `flaxae.evaluation.scoring.SCORES`.
            false_alarms: The share of normal images that may lie above the threshold.
            worst_pixels: The percentage of pixels of the score "worst_pixels".
            normal_classes: Names or numbers of classes; images of all others are anomalies, which
                tells how well the scores detect (none: the classes that the run trained on).
            masks: Folder of masks of the defects, paired with the images by file name.

        Raises:
            InputError: the images, classes or masks cannot be used, or a number is out of range.

        Example:
            >>> scores = run.score(images[:10], false_alarms=0.2)
            >>> scores.values.shape, scores.threshold.needed
            ((10,), 4)
        """
        from flaxae.api.score import ScoreOptions, score_split

        require(score in SCORES, "score", score, f"one of {', '.join(SCORES)}")
        expected = f"0 < rate < 1, at least {RAREST:g}"
        require(RAREST <= false_alarms < 1, "false_alarms", false_alarms, expected)
        require(0 < worst_pixels <= 100, "worst_pixels", worst_pixels, "percent in 0..100")
        if images is None and labels is not None:
            raise InputError("labels came without images; give both, or neither")
        part = self._split(split, images, labels)
        classes = tuple(map(str, normal_classes))
        folder = None if masks is None else str(masks)
        options = ScoreOptions(score, false_alarms, float(worst_pixels), classes, folder)
        return score_split(self, part, options)

    def write_scores(
        self,
        folder: str | Path,
        scores: "Scores",
        images: Any = None,
        *,
        split: str = "test",
        labels: Any = None,
        maps: int = MAPS,
        npz: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Writes what `score` gave for the same images; replaces an earlier such folder.

        The folder gets scores.csv, scores.parquet, worst.png with the 32 highest, maps/ with the
        error maps of the `maps` highest, and with `npz` scores.npz: every score, and the maps as
        arrays. It is complete or absent. All maps of a run are on one scale. Of several processes,
        which all call this, process 0 alone writes.

        Returns:
            The folder.

        Raises:
            InputError: the folder cannot be written, or holds something else, or `maps` is no whole
                number from 0.
            RunError: the files cannot be written, as on a full disk.

        Example:
            >>> folder = run.write_scores(tmp / "scores", run.score(images[:3]), images[:3])
            >>> sorted(path.name for path in folder.iterdir())
            ['maps', 'scores.csv', 'scores.parquet', 'worst.png']
        """
        from flaxae.api.score import write_scores

        fits = isinstance(maps, int) and maps >= 0
        require(fits, "maps", maps, "a whole number from 0")
        part = self._split(split, images, labels)
        return write_scores(self, Path(folder), part, scores, maps, npz, overwrite)

    def profile(self) -> list[Operation]:
        """The costliest operations, for a run that was just trained with `profile=True`.

        Raises:
            InputError: it was not.
            RunError: the epoch had too few calls to record any.

        Example:
            >>> run.profile()
            Traceback (most recent call last):
            flaxae.errors.InputError: no profile was recorded; train with TrainConfig(profile=True)
        """
        if self._profile is None:
            raise InputError("no profile was recorded; train with TrainConfig(profile=True)")
        return self._profile.operations()

    @property
    def dimensions(self) -> int:
        """Numbers in the embedding of an image."""
        return self.programs.dimensions

    def _folder_beside_the_data(self) -> Path:
        """Where what depends on the dataset alone is kept."""
        images = self.splits["train"].images
        return images.folder if isinstance(images, StoredImages) else self.workdir / EVALUATION

    def _check(self, images: Any) -> np.ndarray:
        return check_images(images, "images", self.image_shape)

    def _check_split(self, part: Split) -> Split:
        """The split, with arrays checked; what is stored is the run's own."""
        for name in ("images", "targets"):
            values = getattr(part, name)
            if values is not None and not isinstance(values, StoredImages):
                values = check_images(values, name, self.image_shape)
                part = part._replace(**{name: values})
        _require_images(part.images)
        for name in ("targets", "labels", "files"):
            values = getattr(part, name)
            if values is not None:
                require_length(values, len(part.images), name)
        return part

    def _split(self, name: str, images: Any, labels: Any) -> Split:
        if images is None:
            return select(self.splits, name)
        if isinstance(images, Split):
            return self._check_split(images)
        if isinstance(images, (str, Path)):
            if labels is not None:
                raise InputError("labels came with a path, whose sub-folders are labels; leave out")
            return open_images(str(images), self.config.data, self.image_shape)
        array = self._check(images)
        _require_images(array)
        if labels is None:
            return Split(array)
        numbers, names = number_labels(labels, len(array), "labels")
        return Split(array, numbers, names)


def _require_images(images: Pixels) -> None:
    if not len(images):
        raise InputError("images is empty; give at least one image")


def _require_one_process(what: str) -> None:
    if processes.count() > 1:
        raise InputError(
            f"{what} is made by one process, and this is {processes.name()}; load the run in a "
            "process that has not joined others"
        )
