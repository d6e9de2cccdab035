"""flaxae's programs for a device that need not be there, from shapes alone."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

import flaxae
from flaxae.data.batches import Batch
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.step import embed_step, gradient_sums, many_steps, to_float, train_step

_STEPS = 10  # in a call; a loop's program does not depend on it


class Request(NamedTuple):
    """One program; the fields are as in flaxae's configuration."""

    passing: str  # "train", "scan" (of training steps), "forward" or "embed"
    form: str
    layout: str
    dtype: str
    downsample: str
    activation: str
    filters: tuple[int, ...]
    batch_size: int
    image_shape: tuple[int, int, int]


def trace(request: Request, sharding: Sharding | None) -> Any:
    """The `jax.stages.Traced` program of the model and the optimizer of `--preset original`."""
    own: Any = request  # its words are those of the configuration's Literal types
    config = flaxae.preset(
        "original",
        model="convolutional",
        filters=own.filters,
        downsample=own.downsample,
        activation=own.activation,
    )
    compute = flaxae.ComputeConfig(layout=own.layout, dtype=own.dtype, kernels=own.form)
    model = config.model.build(compute, own.image_shape)
    optimizer = make_optimizer(config.optimizer, steps=1)

    def arguments() -> tuple[Any, ...]:
        rngs = make_rngs(0)
        state = create_train_state(model, optimizer, rngs.init)
        images = jnp.zeros((own.batch_size, *own.image_shape), jnp.uint8)
        rows, mask = jnp.arange(own.batch_size, dtype=jnp.int32), jnp.ones(own.batch_size, bool)
        batch = Batch(images, rows, mask)
        if own.passing == "scan":
            batch = jax.tree.map(lambda x: jnp.broadcast_to(x, (_STEPS, *x.shape)), batch)
        return (state, batch, *_more(own.passing, rngs.train))

    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(arguments),
    )
    donated = (0,) if own.passing in ("train", "scan") else ()
    return jax.jit(_function(request), donate_argnums=donated).trace(*shapes)


def _more(passing: str, rng: jax.Array) -> tuple[Any, ...]:
    return {"train": (rng,), "scan": (rng, None)}.get(passing, ())


def _function(request: Request) -> Callable[..., Any]:
    joined = request.form == "gpu"
    sums = partial(gradient_sums, config=flaxae.ObjectiveConfig(), joined=joined)
    step = partial(train_step, sums=sums, joined=joined)
    return {"train": step, "scan": many_steps(step), "forward": _loss, "embed": embed_step}[
        request.passing
    ]


def _loss(state: Any, batch: Batch) -> jax.Array:
    images = to_float(batch.images)
    return jnp.mean(sigmoid_cross_entropy(state.apply_fn({"params": state.params}, images), images))


def plain_flops(request: Request) -> float | None:
    """XLA's count of operations of the plain form, before compilation; None if there is none."""
    passing = "train" if request.passing == "scan" else request.passing
    return _flops(request._replace(form="plain", passing=passing, layout="NHWC"))


@cache  # the same for every GPU, layout and form
def _flops(request: Request) -> float | None:
    value = (trace(request, None).lower().cost_analysis() or {}).get("flops", -1)
    return float(value) if np.isfinite(value) and value > 0 else None
