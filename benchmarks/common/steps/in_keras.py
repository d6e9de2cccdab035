"""The step in Keras 3 on TensorFlow: the compiled function that `fit` calls for each batch."""

import math
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no messages about the processor

import keras  # pyright: ignore[reportMissingImports]
import tensorflow as tf  # pyright: ignore[reportMissingImports]

from benchmarks.common.steps import Program
from benchmarks.common.steps.workload import Layer, Workload, crops, layers, to_float

# Keras adds epsilon before it corrects the bias of the second moment. With a beta2 of 0.999 its
# effect is 32 to 7 times as large as in the other frameworks in the first 20 steps. The epsilon
# that has the same effect after so many steps is the nearest to theirs.
_EQUAL_AT = 2.5


def build(workload: Workload, form: str) -> Program:
    """`form` is "plain" (TensorFlow's own operations) or "jit_compile" (XLA)."""
    model = _model(workload)
    weights = [w for layer in layers(workload) for w in (layer.for_keras(), layer.bias)]
    rates, beta2, decay, epsilon = workload.recipe
    table, last = tf.constant(rates, tf.float32), len(rates) - 1

    def rate() -> tf.Tensor:
        return tf.gather(table, tf.minimum(tf.cast(optimizer.iterations, tf.int32), last))

    epsilon *= math.sqrt(1 - beta2**_EQUAL_AT)
    optimizer: Any = keras.optimizers.AdamW(rate, decay, beta_2=beta2, epsilon=epsilon)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in optimizer.variables]
    xla: Any = form == "jit_compile"  # its declared type is "auto" only
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=xla)
    model.make_train_function()

    def restart() -> None:
        model.set_weights(weights)
        for variable, value in zip(optimizer.variables, fresh, strict=True):
            variable.assign(value)

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
    to_input, logits = lambda x: tf.constant(to_float(x)), lambda x: model(x).numpy()
    return Program(restart, to_input, step, wait, logits, device)


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
    features = layer.kernel.shape[-1]
    if layer.kind == "dense":
        return keras.layers.Dense(features, activation=layer.activation)
    kinds = {"convolution": keras.layers.Conv2D, "transposed": keras.layers.Conv2DTranspose}
    return kinds[layer.kind](
        features, 3, strides=layer.stride, padding="same", activation=layer.activation
    )
