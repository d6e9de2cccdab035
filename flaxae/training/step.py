"""One step of training, validation or embedding: pure functions, not jitted.

Randomness is a function of the root key and the state's step. So n steps equal k steps, a restart,
and n - k steps, to the bit.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, Shaped, UInt8

from flaxae.data.batches import AnyArray, Batch, Rows
from flaxae.errors import InputError
from flaxae.models.autoencoder import EXTRAS, extras_of
from flaxae.models.randomness import EXAMPLES
from flaxae.objectives import LOSSES, MEASURES, ObjectiveConfig, find
from flaxae.objectives.corruptions import add_noise, corrupt
from flaxae.objectives.losses import ssim_part
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
    state: TrainState, batch: Batch, keys: Keys, *, config: ObjectiveConfig, joined: bool = False
) -> GradientSums:
    """The objective and the loss' gradients, summed over the examples in the mask.

    `joined` adds up the gradients of all biases at once: see `bias_rows`.
    """
    images, targets = _inputs_and_targets(batch)
    inputs = corrupt(images, batch.rows, keys.noise, config)

    def loss_sum(params: optax.Params, rows: Any) -> tuple[Float[Array, ""], Sums]:
        variables = {"params": params, EXAMPLES: {"rows": batch.rows}}
        variables |= {"bias_rows": rows} if joined else {}
        rngs = {"dropout": keys.dropout, EXAMPLES: keys.noise}
        logits, collections = state.apply_fn(
            variables, inputs, train=True, rngs=rngs, mutable=[EXTRAS]
        )
        values = _objective_values(config, logits, targets, collections)
        sums = masked_sums(values, batch.mask)
        return sums["loss"], sums

    if not joined:
        grads, sums = jax.grad(loss_sum, has_aux=True)(state.params, None)
        return GradientSums(sums, grads)
    rows = bias_rows(state.params, len(images))
    (grads, row_grads), sums = jax.grad(loss_sum, (0, 1), has_aux=True)(state.params, rows)
    return GradientSums(sums, add_rows(grads, row_grads))


def bias_rows(params: Any, examples: int) -> Any:
    """The biases of a tree of parameters, each as equal rows, one for every two examples.

    A GPU adds up a layer's gradients in two kernels: over parts of the batch, and over the parts.
    Where the layers return the sums over the parts, as the gradients of these rows, `add_rows` is
    one second kernel for all layers. Fewer rows would leave processors idle, and with more some
    layers are too small for their sum to be fused with what is before it.
    """
    rows = examples // 2 if examples % 2 == 0 else examples
    flat: dict[Any, Any] = {**flatten_dict(params)}
    biases = {
        path: jnp.broadcast_to(leaf, (rows, *leaf.shape))
        for path, leaf in flat.items()
        if path[-1].endswith("bias") and leaf.ndim == 1
    }
    return unflatten_dict(biases)


def add_rows(grads: Any, row_grads: Any) -> Any:
    """`grads` plus the sums over the rows of `row_grads`."""
    flat: dict[Any, Any] = {**flatten_dict(grads)}
    rows: dict[Any, Any] = {**flatten_dict(row_grads)}
    if not rows:
        return grads
    ends = list(itertools.accumulate(leaf.shape[1] for leaf in rows.values()))
    sums = jnp.split(jnp.concatenate(list(rows.values()), axis=1).sum(axis=0), ends[:-1])
    added = {path: flat[path] + total for path, total in zip(rows, sums, strict=True)}
    return unflatten_dict({**flat, **added})


def times_one(params: Any, rng: Rng) -> Any:
    """`params`, the kernels of convolutions as products with a 1 that XLA does not know.

    XLA makes what has equal shapes and shares an operand in one kernel of a GPU: here the copies in
    the order of the GPU's library.
    """
    one = (jnp.maximum(jax.random.key_data(rng)[0], 1) > 0).astype(jnp.float32)
    return jax.tree.map(lambda p: p * one if p.ndim == 4 else p, params)


def as_vector(
    tree: Any, kernels: Literal["HWIO", "OHWI"]
) -> tuple[Float[Array, " numbers"], Callable[[Array], Any]]:
    """The arrays of a tree as one vector, and the function from such a vector to the tree.

    `kernels` is the order in which the vector has the numbers of each kernel of a convolution.
    """
    leaves, shape = jax.tree.flatten(tree)
    moved = [x.ndim == 4 and kernels == "OHWI" for x in leaves]
    parts = [jnp.moveaxis(x, -1, 0) if move else x for x, move in zip(leaves, moved, strict=True)]
    vector, split = ravel_pytree(parts)

    def restore(vector: Array) -> Any:
        found = zip(split(vector), moved, strict=True)
        return jax.tree.unflatten(shape, [jnp.moveaxis(x, 0, -1) if m else x for x, m in found])

    return vector, restore


def train_step(
    state: TrainState,
    batch: Batch,
    rng: Rng,
    *,
    sums: Callable[..., GradientSums],
    joined: bool = False,
    looped: bool = False,
) -> tuple[TrainState, StepMetrics]:
    """One update of the parameters from one batch; `sums` is `gradient_sums`, whole or in parts.

    `joined` makes the gradients one vector before they are used, which takes fewer kernels. In a
    loop of steps, `looped`, XLA keeps the kernels in the order of a GPU's library, OHWI; the vector
    then has it too, so that the gradients are not transposed. In a step alone the kernels are
    transposed, those of equal shape together.
    """
    keys = Keys(*jax.random.split(jax.random.fold_in(rng, state.step)))
    alone = joined and not looped
    read = state.replace(params=times_one(state.params, rng)) if alone else state
    values, grads = sums(read, batch, keys)
    examples = values["examples"]
    restore = None
    if joined:
        grads, restore = as_vector(grads, "OHWI" if looped else "HWIO")
    grads = jax.tree.map(lambda g: g / examples, grads)
    means = {name: value / examples for name, value in values.items() if name != "examples"}
    if restore is not None:
        grads = lax.optimization_barrier(grads)  # or XLA would make a vector for each use
    state = state.apply_gradients(grads=grads if restore is None else restore(grads))
    return state, StepMetrics(means, optax.tree.norm(grads))


def many_steps(
    step: Callable[..., tuple[TrainState, StepMetrics]],
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Several steps as one call: `(state, batches, rng, resident) -> (state, metrics)`.

    `step` is `train_step`, with its sums.
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
            return step(state, part, rng, looped=len(batches.rows) > 1)

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
    extras = {**extras_of(collections), **ssim_part(logits, targets, config.ssim_weight)}
    values = find(LOSSES, config.loss)(logits, targets, extras)
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
