"""An autoencoder: an encoder and a decoder, with images as NHWC outside and a flat embedding.

Both halves are entry points: `model.apply(variables, images, method="encode")`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxae.models.options import ComputeConfig, Shape
from flaxae.models.randomness import example_keys

Images = Float[Array, "batch height width channels"]
Embedding = Float[Array, "batch dimensions"]

EXTRAS = "extras"  # the linen collection of what a bottleneck measures


class Autoencoder(nn.Module):
    """Any model: `encoder(images, train) -> embedding` and `decoder(embedding, train) -> logits`.

    A bottleneck reports what it measures of each example by name:
    `self.sow("extras", "kl_loss", values)`, with `values` of shape [batch]. See `extras_of`.
    """

    encoder: nn.Module
    decoder: nn.Module
    compute: ComputeConfig
    image_shape: Shape
    latent_noise: float = 0.0  # above 0, embeddings have a root mean square below 1

    def __call__(self, images: Images, train: bool = False) -> Images:
        """Logits of the reconstruction, float32; `train` turns dropout and latent noise on."""
        embedding = self.encode(images, train)
        if train and self.latent_noise:
            keys = example_keys(self, len(embedding))
            noise = jax.vmap(lambda key: jax.random.normal(key, embedding.shape[1:]))(keys)
            embedding += self.latent_noise * noise
        return self.decode(embedding, train)

    def encode(self, images: Images, train: bool = False) -> Embedding:
        """The embedding of images with pixels in 0..1, float32."""
        embedding = self.encoder(images.astype(self.compute.dtype), train).astype(jnp.float32)
        return bounded(embedding) if self.latent_noise else embedding

    def decode(self, embedding: Embedding, train: bool = False) -> Images:
        """Logits of the images for these embeddings, float32; their sigmoid is the pixels."""
        return self.decoder(embedding.astype(self.compute.dtype), train).astype(jnp.float32)


def bounded(embedding: Embedding) -> Embedding:
    """Each embedding x as x / sqrt(1 + mean(x**2)): its root mean square stays below 1.

    Without a bound, training would make embeddings large and their noise negligible.
    """
    mean_square = jnp.mean(embedding**2, axis=-1, keepdims=True)
    return embedding * jax.lax.rsqrt(1 + mean_square)


def extras_of(collections: dict) -> dict[str, Float[Array, " batch"]]:
    """What the bottleneck measured, by name, from the mutated collections of `apply`."""
    leaves = jax.tree_util.tree_leaves_with_path(collections.get(EXTRAS, {}))
    # The path ends in the name and the index in the tuple that `sow` makes.
    return {path[-2].key: value for path, value in leaves}
