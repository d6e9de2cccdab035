"""Estimates the memory that training needs, before anything is allocated or written."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxae.data.sizes import size_text
from flaxae.data.store.memory import total_memory
from flaxae.errors import InputError
from flaxae.models.autoencoder import Autoencoder
from flaxae.models.options import ModelConfig, Shape
from flaxae.training import OptimizerConfig
from flaxae.training.devices import Placement

# Validation images whose activations are checked and recorded after each epoch, all at once.
_MOST_WATCHED, _MOST_WATCHED_BYTES = 64, 2**28
_SHARE = 0.9  # of the memory may be needed; the rest is for the system
_SIZES = ("filters", "hidden_units", "dense_units", "latent_dim")  # options that make a model large


class Needed(NamedTuple):
    """Bytes of memory that training needs at least."""

    weights: int  # with their gradients, the optimizer's moments and an average
    batch: int  # a batch of images, and what the layers make of it; or what is watched, if larger

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.batch


def estimate(
    model: Autoencoder,
    optimizer: OptimizerConfig,
    image_shape: Shape,
    images: int,
    placement: Placement,
) -> Needed:
    """What one training step needs on all devices of this process.

    `images` is the size of the training split. Nothing is computed: only shapes are traced.
    """

    def params_and_layers(rng: jax.Array, one: jax.Array) -> tuple[Any, Any]:
        params = model.init(rng, one)["params"]
        return params, model.apply({"params": params}, one, mutable=["intermediates"])[1]

    one = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    params, layers = jax.eval_shape(params_and_layers, jax.random.key(0), one)
    processes = placement.share.processes
    devices = placement.mesh.size // processes
    # The weights, their gradients, two moments; each device has all of them.
    copies = 4 + bool(optimizer.ema_decay)
    weights = copies * _bytes(params) * devices
    whole = min(optimizer.batch_size, images)
    batch = math.ceil(whole / processes)
    at_once = math.ceil(batch / devices)
    at_once = min(at_once, placement.micro_batch or at_once)
    steps = min(placement.steps_per_call, images // whole)
    # The layers' activations and their gradients; the next call's images are made ready
    # while the device has those of this one.
    activations = 2 * _bytes(layers) * at_once * devices
    training = activations + 2 * steps * batch * math.prod(image_shape)
    return Needed(weights, max(training, watched_images(layers) * _bytes(layers)))


def watched_images(layers: Any) -> int:
    """Validation images whose activations are kept after an epoch: fewer where they are large.

    `layers` is the activations of one image, or their shapes.
    """
    return min(_MOST_WATCHED, max(1, _MOST_WATCHED_BYTES // max(1, _bytes(layers))))


def require_memory(needed: Needed, model: ModelConfig, limit: int) -> None:
    """Raises InputError if more than 90 % of `limit` bytes are needed; says what to lower."""
    if needed.total <= _SHARE * limit:
        return
    known = {f.name for f in dataclasses.fields(model)}
    sizes = [f"--{name.replace('_', '-')}" for name in _SIZES if name in known]
    flags = " or ".join(sizes or ["the model"])
    if needed.batch > needed.weights:
        flags = f"--batch-size, --image-size or {flags}"
    raise InputError(
        f"training needs about {size_text(needed.total)} of memory ({size_text(needed.weights)} "
        f"for the weights and the optimizer, {size_text(needed.batch)} for a batch), and 90 % of "
        f"what there is are {size_text(_SHARE * limit)}; lower {flags}"
    )


def usable_memory() -> int:
    """Bytes of memory of the devices: this machine's, or that of all its accelerators together."""
    if jax.default_backend() == "cpu":
        return total_memory()
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    return sum(limits) if all(limits) else 2**62


def _bytes(tree: Any) -> int:
    """In Python's integers, because absurd sizes overflow others."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(map(int, leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
