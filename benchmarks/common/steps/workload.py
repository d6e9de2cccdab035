"""The model, the weights and the images that every form of the step starts from, in numpy.

Each process makes them from the same seeds. The weights have flaxae's order: kernels are HWIO, and
a transposed kernel is as `lax.conv_transpose` takes it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Shape = tuple[int, int, int]  # height, width, channels

MODELS = ("convolutional", "convolutional_stride", "fully_connected")
IMAGE_SHAPE: Shape = (28, 28, 1)

_BATCHES = 8  # rotated, so that no step gets the batch of the step before
_BLOBS = 3  # in an image
_BLOB_RADIUS = 3.0  # pixels
_NOISE = 0.2  # of the range of brightness


class Layer(NamedTuple):
    """A layer's kind and weights, also as Keras and PyTorch take a kernel.

    `lax.conv_transpose` slides a transposed kernel over the dilated image. Keras and PyTorch add it
    to the result once for each input pixel. For the same result the kernel is rotated by 180
    degrees, and its input and output channels are swapped.
    """

    kind: str  # "convolution", "transposed" or "dense"
    kernel: np.ndarray
    bias: np.ndarray
    stride: int  # 1 for a dense one
    activation: str | None  # as all frameworks call it; None: the last layer gives the logits
    pooled: bool  # followed by 2x2 max pooling

    def for_keras(self) -> np.ndarray:
        """Convolutions as HWIO, transposed ones rotated, as HWOI, dense ones as [input, output]."""
        rotated = self.kernel[::-1, ::-1].swapaxes(-1, -2)
        return np.ascontiguousarray(rotated) if self.kind == "transposed" else self.kernel

    def for_torch(self) -> np.ndarray:
        """Convolutions as OIHW, transposed ones rotated, as IOHW, dense ones as [output, input]."""
        return np.ascontiguousarray(np.moveaxis(self.for_keras(), (-1, -2), (0, 1)))


class Recipe(NamedTuple):
    """AdamW's options; the defaults are those of `--preset original`."""

    rates: Sequence[float] | np.ndarray = (1e-3,)  # of each step; one number is that of all steps
    beta2: float = 0.999
    weight_decay: float = 1e-5  # of kernels only, per unit of the rate
    epsilon: float = 1e-8


class Workload(NamedTuple):
    """A model by name, its size and weights, and how its peers train it."""

    model: str
    filters: tuple[int, ...] = (16, 8, 8)
    hidden_units: tuple[int, ...] = (128, 64, 32)
    image_shape: Shape = IMAGE_SHAPE
    activation: str = "relu"
    weights: Sequence[tuple[np.ndarray, np.ndarray]] = ()  # kernel and bias of each layer, if given
    recipe: Recipe = Recipe()  # of flaxae's peers


def layers(workload: Workload) -> list[Layer]:
    """The layers in the order in which an image passes them, with their first weights.

    Kernels are initialized by He et al. 2015, https://arxiv.org/abs/1502.01852. Biases are small
    but not zero, so that a missing or swapped bias changes the loss. The workload's weights win.
    """
    if workload.model not in MODELS:
        raise ValueError(f"got the model {workload.model!r}; expected one of {MODELS}")
    generator = np.random.default_rng(0)

    def layer(kind: str, shape: tuple[int, ...], stride: int = 1, pooled: bool = False) -> Layer:
        deviation = math.sqrt(2 / math.prod(shape[:-1]))
        kernel = generator.normal(0, deviation, shape).astype(np.float32)
        bias = generator.normal(0, 0.05, shape[-1]).astype(np.float32)
        return Layer(kind, kernel, bias, stride, workload.activation, pooled)

    if workload.model == "fully_connected":
        pixels = math.prod(workload.image_shape)
        units = [pixels, *workload.hidden_units, *workload.hidden_units[-2::-1], pixels]
        found = [layer("dense", pair) for pair in itertools.pairwise(units)]
    else:
        found, every = [], (workload.image_shape[2], *workload.filters)
        pooled = workload.model == "convolutional"
        for channels, filters in itertools.pairwise(every):
            found.append(layer("convolution", (3, 3, channels, filters)))
            found.append(layer("convolution", (3, 3, filters, filters), pooled=pooled))
            if not pooled:
                found.append(layer("convolution", (3, 3, filters, filters), 2))
        for pair in itertools.pairwise((every[-1], *every[:0:-1])):
            found.append(layer("transposed", (3, 3, *pair), 2))
        found.append(layer("transposed", (3, 3, every[1], every[0])))
    found[-1] = found[-1]._replace(activation=None)
    given = workload.weights or [(layer.kernel, layer.bias) for layer in found]
    pairs = zip(found, given, strict=True)
    return [layer._replace(kernel=kernel, bias=bias) for layer, (kernel, bias) in pairs]


def crops(workload: Workload) -> tuple[int, int]:
    """The surplus rows and columns of the last layer's result."""
    factor = 2 ** len(workload.filters)
    height, width = (-size % factor for size in workload.image_shape[:2])
    return height, width


def make_batches(batch_size: int, shape: Shape, count: int = _BATCHES) -> list[np.ndarray]:
    """Batches of uint8 images [batch, height, width, channels]: soft blobs on faint noise.

    On noise alone the loss stays at log 2 for any weights, so equal losses would prove nothing. The
    noise keeps gradients above AdamW's epsilon, which the frameworks add in different places.
    """
    generator = np.random.default_rng(1)
    height, width, channels = shape
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    batches = []
    for _ in range(count):
        places = generator.uniform(0.1, 0.9, size=(batch_size, _BLOBS, 2)) * (height, width)
        row, column = places[..., 0, None, None], places[..., 1, None, None]
        distance = (rows - row) ** 2 + (columns - column) ** 2
        light = np.exp(-distance / _BLOB_RADIUS**2).max(axis=1)
        light = (1 - _NOISE) * light + _NOISE * generator.uniform(size=light.shape)
        batches.append(np.repeat((255 * light).astype(np.uint8)[..., None], channels, axis=3))
    return batches


def to_float(images: np.ndarray) -> np.ndarray:
    """Pixels 0..255 as float32 in 0..1."""
    return images.astype(np.float32) / 255
