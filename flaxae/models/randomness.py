"""Randomness of layers in training: drawn for each example, so that no division changes it.

An example's draws depend only on the step's key, the layer, and the example's row in the split.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

# The linen collection that holds the rows of a batch, and the stream of keys that goes with it.
EXAMPLES = "examples"


class Dropout(nn.Module):
    """Sets each number of `x` to 0 with the probability `rate`, and scales the others up."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."], deterministic: bool) -> Float[Array, "..."]:
        if deterministic or self.rate == 0:
            return x
        keep = 1 - self.rate
        keys = example_keys(self, len(x))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, keep, x.shape[1:]))(keys)
        return jnp.where(kept, x / keep, 0)


def example_keys(module: nn.Module, count: int) -> Key[Array, " batch"]:
    """A key of this module for each of the `count` examples of a batch.

    `apply` gets their rows as the variables {"examples": {"rows": rows}}, and the key "examples"
    in `rngs`. Without rows they are 0, 1, ...; without that key, "dropout" is used.
    """
    root = module.scope.root  # pyright: ignore[reportOptionalMemberAccess] # inside `apply`
    given = root.has_variable(EXAMPLES, "rows")
    rows: Int[Array, " batch"] = root.get_variable(EXAMPLES, "rows") if given else jnp.arange(count)
    key = module.make_rng(EXAMPLES if module.has_rng(EXAMPLES) else "dropout")
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
