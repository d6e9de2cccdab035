"""Converts kernels from flaxae's order to those of Keras and PyTorch, in numpy.

`lax.conv_transpose` slides a transposed kernel over the dilated image. Keras and PyTorch add it to
the result once for each input pixel. For the same result the kernel is rotated by 180 degrees, and
its input and output channels are swapped.
"""

import numpy as np

from benchmarks.train_step.steps.workload import Layer


def for_keras(layer: Layer) -> np.ndarray:
    """Convolutions as HWIO, transposed ones rotated, as HWOI, dense ones as [input, output]."""
    if layer.kind == "transposed":
        return np.ascontiguousarray(layer.kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    return layer.kernel


def for_torch(layer: Layer) -> np.ndarray:
    """Convolutions as OIHW, transposed ones rotated, as IOHW, dense ones as [output, input]."""
    if layer.kind == "transposed":
        return np.ascontiguousarray(layer.kernel[::-1, ::-1].transpose(2, 3, 0, 1))
    axes = (3, 2, 0, 1) if layer.kind == "convolution" else (1, 0)
    return np.ascontiguousarray(layer.kernel.transpose(axes))
