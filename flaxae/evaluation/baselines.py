"""Scores of a dataset's pixels and of their principal components, kept in a file.

They do not depend on a model, so they are computed once for each dataset.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from flaxae.data.atomic import write_atomically
from flaxae.evaluation.pca import Projection, fit_pca, project
from flaxae.evaluation.representation import (
    class_scores,
    floats,
    majority,
    nearest_labels,
    neighborhood_score,
)

PCA_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)  # the best of them is reported
_VERSION = "1"  # of the scores; another number makes kept ones invalid

Scores = dict[str, float]


class Pixels(NamedTuple):
    """The images of two splits; with labels only if both have them."""

    train: UInt8[np.ndarray, "train height width channels"]
    test: UInt8[np.ndarray, "test height width channels"]
    train_labels: Int[np.ndarray, " train"] | None
    test_labels: Int[np.ndarray, " test"] | None


class Baselines(NamedTuple):
    """Scores by name, of each representation."""

    pca: Scores  # of as many numbers as asked for
    best_pca: Scores  # of the size with the highest accuracy of 5 neighbors; empty without labels
    best_pca_dimensions: int | None
    pixels: Scores


def baselines(pixels: Pixels, dimensions: int, folder: Path) -> Baselines:
    """The scores that `representation.class_scores` gives to pixels and to PCA.

    The PCA is fitted to the training images. The scores are read from a file in `folder`, which
    carries the digest of the images and labels; what it lacks is computed and added.
    """
    kept = _Kept(folder / f"baselines-{_digest(pixels)}.json")
    train, test = _flat(pixels.train), _flat(pixels.test)
    most = min(*train.shape, max(dimensions, PCA_SIZES[-1]))

    @cache
    def components() -> Projection:
        return fit_pca(train, most)

    def projected(size: int) -> tuple[np.ndarray, np.ndarray]:
        whole = components()
        first = whole._replace(components=whole.components[:size])
        return project(first, train), project(first, test)

    def scores(train_vectors: np.ndarray, test_vectors: np.ndarray) -> Scores:
        found: Scores = {}
        if pixels.train_labels is not None and pixels.test_labels is not None:
            labels = (pixels.train_labels, pixels.test_labels)
            found |= class_scores(train_vectors, test_vectors, *labels)[0]
        trust = neighborhood_score(test, test_vectors)
        return found if trust is None else found | {"trustworthiness": trust}

    def best_size() -> int | None:
        labels = pixels.train_labels
        if labels is None or pixels.test_labels is None:
            return None

        def accuracy(size: int) -> float:
            answers = majority(nearest_labels(*projected(size), labels))
            return float(np.mean(answers == pixels.test_labels))

        return max((size for size in PCA_SIZES if size <= most), key=accuracy, default=None)

    own = min(dimensions, most)
    best = kept.get("best_pca_dimensions", best_size)
    result = Baselines(
        pca=kept.get(f"pca {own}", lambda: scores(*projected(own))),
        best_pca={} if best is None else kept.get(f"pca {best}", lambda: scores(*projected(best))),
        best_pca_dimensions=best,
        pixels=kept.get("pixels", lambda: scores(floats(train), floats(test))),
    )
    kept.save()
    return result


class _Kept:
    """A file of JSON with what was computed before, and a checksum of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = {}
        # Absent or damaged: computed again.
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError, TypeError):
            values = json.loads(path.read_text())
            digest = values.pop("sha256", None)
            self._values = values if digest == _sha256(values) else {}
        self._known = len(self._values)

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self._values:
            self._values[name] = compute()
        return self._values[name]

    def save(self) -> None:
        if len(self._values) == self._known:
            return
        content = json.dumps(self._values | {"sha256": _sha256(self._values)}).encode()
        with contextlib.suppress(OSError):  # a read-only folder: computed again the next time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, content)


def _sha256(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _digest(pixels: Pixels) -> str:
    total = hashlib.sha256(_VERSION.encode())
    for array in pixels:
        total.update(str(None if array is None else (array.shape, array.dtype)).encode())
        if array is not None:
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:32]


def _flat(images: UInt8[np.ndarray, "examples height width channels"]) -> np.ndarray:
    return images.reshape(len(images), -1)
