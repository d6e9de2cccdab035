"""The step in Keras 3 on TensorFlow: the compiled function that `fit` calls for each batch."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no messages about the processor

import keras  # pyright: ignore[reportMissingImports]
import tensorflow as tf  # pyright: ignore[reportMissingImports]

from benchmarks.train_step.steps import Program
from benchmarks.train_step.steps.workload import ADAMW, Layer, Workload, crops, layers, to_float

# Keras adds epsilon before it corrects the bias of the second moment. In the first 20 steps its
# effect is 32 to 7 times as large as in the other frameworks. This value is nearest to their 1e-8.
_EPSILON = 5e-10


def build(workload: Workload, form: str) -> Program:
    """`form` is "plain" (TensorFlow's own operations) or "jit_compile" (XLA)."""
    model = _model(workload)
    weights = [w for layer in layers(workload) for w in (layer.for_keras(), layer.bias)]

    def restart() -> None:
        rate, decay, _ = ADAMW
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, epsilon=_EPSILON)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.set_weights(weights)
        xla: Any = form == "jit_compile"  # its declared type is "auto" only
        model.compile(optimizer, loss, jit_compile=xla)
        model.make_train_function()

    def step(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # `fit` and `train_on_batch` call this function too, and fetch the loss after every call.
        assert model.train_function is not None
        return model.train_function(iter([(images, images)]))

    def wait(logs: dict[str, tf.Tensor]) -> float:
        loss = float(logs["loss"])
        model.reset_metrics()  # otherwise the next loss is a mean that includes this one
        return loss

    restart()
    device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    return Program(restart, lambda images: tf.constant(to_float(images)), step, wait, device)


def _model(workload: Workload) -> keras.Model:
    convolutional = workload.model != "fully_connected"
    parts: list[Any] = [keras.Input(workload.image_shape)]
    parts += [] if convolutional else [keras.layers.Flatten()]
    for layer in layers(workload):
        parts.append(_part(layer))
        parts += [keras.layers.MaxPooling2D(2, padding="same")] if layer.pooled else []
    if convolutional:
        crop = [(surplus // 2, surplus - surplus // 2) for surplus in crops(workload)]
        parts.append(keras.layers.Cropping2D(crop))
    else:
        parts.append(keras.layers.Reshape(workload.image_shape))
    return keras.Sequential(parts)


def _part(layer: Layer) -> keras.layers.Layer:
    activation = "relu" if layer.activated else None
    features = layer.kernel.shape[-1]
    if layer.kind == "dense":
        return keras.layers.Dense(features, activation=activation)
    kinds = {"convolution": keras.layers.Conv2D, "transposed": keras.layers.Conv2DTranspose}
    return kinds[layer.kind](
        features, 3, strides=layer.stride, padding="same", activation=activation
    )
