"""Kernels from flaxae's order into those of Keras and PyTorch, in numpy.

A transposed convolution reads its kernel in two ways: `lax.conv_transpose` slides it over the
stretched image, Keras and PyTorch stamp it onto the result, input by input. The same sums have the
kernel turned by 180 degrees, and input and output channels swapped.
"""

import numpy as np

from benchmarks.train_step.steps.workload import Layer


def for_keras(layer: Layer) -> np.ndarray:
    """HWIO convolutions and dense kernels as they are; transposed ones turned, as HWOI."""
    if layer.kind == "transposed":
        return np.ascontiguousarray(layer.kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    return layer.kernel


def for_torch(layer: Layer) -> np.ndarray:
    """Convolutions as OIHW, transposed ones turned, as IOHW, dense ones as [output, input]."""
    if layer.kind == "transposed":
        return np.ascontiguousarray(layer.kernel[::-1, ::-1].transpose(2, 3, 0, 1))
    axes = (3, 2, 0, 1) if layer.kind == "convolution" else (1, 0)
    return np.ascontiguousarray(layer.kernel.transpose(axes))
