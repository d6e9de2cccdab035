"""One step of training, validation or embedding: pure functions, not jitted.

Randomness is a function of the root key and the state's step. So n steps equal k steps, a restart,
and n - k steps, to the bit.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from jax import lax
from jaxtyping import Array, Float, Key, Shaped, UInt8

from flaxae.data.batches import AnyArray, Batch, Rows
from flaxae.errors import InputError
from flaxae.models.autoencoder import EXTRAS, extras_of
from flaxae.models.randomness import EXAMPLES
from flaxae.objectives import LOSSES, MEASURES, ObjectiveConfig, find
from flaxae.objectives.corruptions import add_noise, corrupt
from flaxae.objectives.measures import DERIVED, Sums, masked_sums, mean_squared_error
from flaxae.training.parts import Keys

Images = Float[Array, "batch height width channels"]
Rng = Key[Array, ""]
AnyImages = Shaped[AnyArray, "batch height width channels"]


class GradientSums(NamedTuple):
    """Sums over the examples of a batch."""

    values: Sums  # of what the objective returns, by name, and "examples"
    grads: Any  # of the sum of "loss", a tree like the parameters


class StepMetrics(NamedTuple):
    """The result of one training step."""

    values: dict[str, Float[Array, ""]]  # means over the batch of what the objective returns
    grad_norm: Float[Array, ""]  # of all gradients together, before the optimizer


class Embedded(NamedTuple):
    """The embedding of a batch of clean images."""

    vectors: Float[Array, "batch dimensions"]
    errors: Float[Array, " batch"]  # mean squared error of the reconstruction, pixels in 0..1


class Inspected(NamedTuple):
    """The embedding of a batch of clean images, and their reconstructions."""

    vectors: Float[Array, "batch dimensions"]
    errors: Float[Array, " batch"]  # mean squared error of the reconstruction, pixels in 0..1
    pixels: UInt8[Array, "batch height width channels"]


def gradient_sums(
    state: TrainState, batch: Batch, keys: Keys, *, config: ObjectiveConfig
) -> GradientSums:
    """The objective and the loss' gradients, summed over the examples in the mask."""
    images, targets = _inputs_and_targets(batch)
    inputs = corrupt(images, batch.rows, keys.noise, config)

    def loss_sum(params: optax.Params) -> tuple[Float[Array, ""], Sums]:
        variables = {"params": params, EXAMPLES: {"rows": batch.rows}}
        rngs = {"dropout": keys.dropout, EXAMPLES: keys.noise}
        logits, collections = state.apply_fn(
            variables, inputs, train=True, rngs=rngs, mutable=[EXTRAS]
        )
        values = _objective_values(config, logits, targets, collections)
        sums = masked_sums(values, batch.mask)
        return sums["loss"], sums

    grads, sums = jax.grad(loss_sum, has_aux=True)(state.params)
    return GradientSums(sums, grads)


def train_step(
    state: TrainState, batch: Batch, rng: Rng, *, sums: Callable[..., GradientSums]
) -> tuple[TrainState, StepMetrics]:
    """One update of the parameters from one batch; `sums` is `gradient_sums`, whole or in parts."""
    keys = Keys(*jax.random.split(jax.random.fold_in(rng, state.step)))
    values, grads = sums(state, batch, keys)
    examples = values["examples"]
    grads = jax.tree.map(lambda g: g / examples, grads)
    means = {name: value / examples for name, value in values.items() if name != "examples"}
    return state.apply_gradients(grads=grads), StepMetrics(means, optax.tree.norm(grads))


def many_steps(
    step: Callable[..., tuple[TrainState, StepMetrics]],
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Several steps as one call: `(state, batches, rng, resident) -> (state, metrics)`.

    `batches` is a `Batch`, or a `Rows` into `resident` (images, targets or None), with the steps
    along a first axis. The metrics have the same axis.
    """

    def steps(
        state: TrainState, batches: Batch | Rows, rng: Rng, resident: tuple[Array, Any] | None
    ) -> tuple[TrainState, StepMetrics]:
        def one(state: TrainState, part: Batch | Rows) -> tuple[TrainState, StepMetrics]:
            if isinstance(part, Rows):
                assert resident is not None, "rows are of images on the device"
                images, targets = jax.tree.map(lambda array: array[part.rows], resident)
                part = Batch(images, part.rows, part.mask, targets)
            return step(state, part, rng)

        return lax.scan(one, state, batches)

    return steps


def eval_step(
    state: TrainState,
    batch: Batch,
    keys: Keys,
    *,
    config: ObjectiveConfig,
    measures: tuple[str, ...],
) -> Sums:
    """Sums of the objective and of `measures` over a batch.

    Inputs are noisy where training's are, but have no other corruption.
    """
    images, targets = _inputs_and_targets(batch)
    inputs = add_noise(images, batch.rows, keys.noise, config.noise_factor)
    logits, collections = state.apply_fn({"params": state.params}, inputs, mutable=[EXTRAS])
    values = _objective_values(config, logits, targets, collections)
    pixels = jax.nn.sigmoid(logits)
    measured = {name: find(MEASURES, name)(pixels, targets) for name in measures}
    return masked_sums({**values, **measured}, batch.mask)


def reconstruct_step(
    state: TrainState, batch: Batch, rng: Rng, *, noise_factor: float
) -> tuple[Images, Images]:
    """The model's input, noisy where training's is, and the logits of its reconstruction."""
    inputs = add_noise(to_float(batch.images), batch.rows, rng, noise_factor)
    return inputs, state.apply_fn({"params": state.params}, inputs)


def embed_step(state: TrainState, batch: Batch) -> Embedded:
    """A batch's embedding and reconstruction errors, from images without noise."""
    vectors, errors, _ = inspect_step(state, batch)
    return Embedded(vectors, errors)


def inspect_step(state: TrainState, batch: Batch) -> Inspected:
    """A batch's embedding, reconstruction errors and reconstructions, from images without noise."""
    images, targets = _inputs_and_targets(batch)
    variables = {"params": state.params}
    vectors = state.apply_fn(variables, images, method="encode")
    pixels = jax.nn.sigmoid(state.apply_fn(variables, vectors, method="decode"))
    errors = mean_squared_error(pixels, targets)
    return Inspected(vectors, errors, jnp.round(pixels * 255).astype(jnp.uint8))


def activations(state: TrainState, images: UInt8[AnyArray, "batch height width channels"]) -> Any:
    """Every hidden layer's activation on clean images, as a tree named like the parameters."""
    variables = {"params": state.params}
    _, sown = state.apply_fn(variables, to_float(images), mutable=["intermediates"])
    # A layer sows a tuple, with one entry for each call.
    sown = sown.get("intermediates", {})  # a model of other layers may sow nothing
    return jax.tree.map(lambda calls: calls[0], sown, is_leaf=_is_tuple)


def to_float(images: AnyImages) -> Images:
    """Pixels 0..255 as float32 in 0..1; floats are taken as they are."""
    array = jnp.asarray(images)
    return array.astype(jnp.float32) / 255 if array.dtype == jnp.uint8 else array


def _objective_values(
    config: ObjectiveConfig, logits: Images, targets: Images, collections: dict
) -> dict[str, Float[Array, " batch"]]:
    """What the objective returns, checked while it is traced.

    Raises:
        InputError: it returns no "loss", a reserved name, or values that are not one an example.
    """
    values = find(LOSSES, config.loss)(logits, targets, extras_of(collections))
    returned = jax.tree.map(jax.typeof, values)
    reserved = {"examples", "grad_norm", "steps", *MEASURES, *DERIVED}
    fits = isinstance(values, Mapping) and "loss" in values and not reserved & set(values)
    if not fits or any(
        value.shape != logits.shape[:1] or not jnp.issubdtype(value.dtype, jnp.floating)
        for value in returned.values()
    ):
        raise InputError(
            f"the objective {config.loss} returned {returned} for {len(logits)} examples; expected "
            f'a dictionary with "loss" and any names but {", ".join(sorted(reserved))}, '
            "and one float an example for each"
        )
    return dict(values)


def _inputs_and_targets(batch: Batch) -> tuple[Images, Images]:
    images = to_float(batch.images)
    return images, images if batch.targets is None else to_float(batch.targets)


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple)
