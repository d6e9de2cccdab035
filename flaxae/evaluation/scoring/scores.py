"""The score functions: what was measured of images, and what is normal, to one number an image."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from flaxae.evaluation.representation import NEIGHBORS, sample_rows

Values = Float32[np.ndarray, " _"]  # one an image
Vectors = Float[np.ndarray, "_ dimensions"]
MOST_REFERENCES = 20_000  # training embeddings; of more, a sample with a fixed seed serves
_SMALLEST = 1e-6  # variance of a direction, as a part of the largest
_SPREAD = 90  # percentile of held-out normal images, whose distance from the median is the spread
_LEAST_SPREAD = 1e-3  # as a part of the median, which no score has below 0


class Measured(NamedTuple):
    """What was measured of each image, in the order of the images."""

    mse: Float32[np.ndarray, " _"]  # of pixels in 0..1
    worst_pixels: Float32[np.ndarray, " _"]  # mean squared error of the worst pixels
    cross_entropy: Float32[np.ndarray, " _"]  # nats a pixel
    vectors: Float32[np.ndarray, "_ dimensions"]  # the embedding


class Reference:
    """What is normal: the embeddings of training images, and what was measured of held-out ones."""

    def __init__(self, vectors: Float32[np.ndarray, "_ dimensions"], held_out: Measured) -> None:
        self.vectors = vectors[sample_rows(len(vectors), MOST_REFERENCES)]
        self.held_out = held_out

    @cached_property
    def whitening(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
        """The mean of the embeddings, and the matrix that gives them the covariance 1.

        The covariance is shrunk (Ledoit and Wolf 2004), so that few images suffice, and directions
        in which embeddings hardly vary are taken to vary a little, so that rounding is no oddity.
        """
        vectors = self.vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        # One image tells no covariance.
        covariance = ledoit_wolf(vectors - mean, assume_centered=True)[0] if len(vectors) > 1 else 0
        variances, directions = np.linalg.eigh(np.broadcast_to(covariance, (mean.size, mean.size)))
        floor = _SMALLEST * variances.max()
        return mean, directions / np.sqrt(np.maximum(variances, floor) if floor > 0 else 1.0)

    @cached_property
    def nearest(self) -> NearestNeighbors:
        """Finds the nearest training embeddings."""
        return fitted(self.vectors)

    @cached_property
    def nearest_whitened(self) -> NearestNeighbors:
        """Finds the nearest training embeddings after whitening."""
        return fitted(self.whiten(self.vectors))

    def whiten(self, vectors: Vectors) -> Float32[np.ndarray, "_ dimensions"]:
        """Embeddings in standard deviations of the training images'."""
        mean, matrix = self.whitening
        return ((vectors - mean) @ matrix).astype(np.float32)


def mse(measured: Measured, reference: Reference) -> Values:
    """The mean squared error of the reconstruction."""
    return measured.mse


def worst_pixels(measured: Measured, reference: Reference) -> Values:
    """The mean squared error of the pixels with the largest errors."""
    return measured.worst_pixels


def cross_entropy(measured: Measured, reference: Reference) -> Values:
    """The sigmoid cross-entropy, in nats a pixel.

    A gray pixel that is reconstructed exactly has its entropy, and not 0. So images of many gray
    pixels score higher than black and white ones.
    """
    return measured.cross_entropy


def neighbors(measured: Measured, reference: Reference) -> Values:
    """The mean Euclidean distance to the embeddings of the 5 nearest training images."""
    return distances(reference.nearest, measured.vectors)


def mahalanobis(measured: Measured, reference: Reference) -> Values:
    """The Mahalanobis distance of the embedding to the mean of the training images."""
    return np.linalg.norm(reference.whiten(measured.vectors), axis=1).astype(np.float32)


def whitened_neighbors(measured: Measured, reference: Reference) -> Values:
    """The mean distance to the 5 nearest training images, by the Mahalanobis metric."""
    return distances(reference.nearest_whitened, reference.whiten(measured.vectors))


def combined(measured: Measured, reference: Reference) -> Values:
    """The mean of what the reconstruction and the embedding say, in comparable units."""
    parts = [
        _standardized(score, measured, reference) for score in (worst_pixels, whitened_neighbors)
    ]
    return np.mean(parts, axis=0).astype(np.float32)


def _standardized(score, measured: Measured, reference: Reference) -> Values:
    """A score in spreads above the median of held-out normal images.

    The spread of equal images, or of a single one, is taken as a thousandth of their median: else a
    division by nearly 0 would leave the score with the larger unit to decide alone.
    """
    normal = score(reference.held_out, reference)
    middle = np.median(normal)
    spread = max(np.percentile(normal, _SPREAD) - middle, _LEAST_SPREAD * middle) or 1.0
    return ((score(measured, reference) - middle) / spread).astype(np.float32)


def fitted(vectors: Vectors) -> NearestNeighbors:
    """Finds the nearest of these vectors by brute force: trees are slower in many dimensions."""
    count = min(NEIGHBORS, len(vectors))
    return NearestNeighbors(n_neighbors=count, algorithm="brute").fit(vectors)


def distances(nearest: NearestNeighbors, vectors: Vectors) -> Values:
    """The mean distance to the nearest."""
    return nearest.kneighbors(vectors)[0].mean(axis=1).astype(np.float32)
