"""Image datasets as TFDS builders that do not need TensorFlow.

Names and versions are listed here, so that a dataset that was decoded before can be found without
importing TFDS, which is slow. Only `prepare.py` and the builders import it.
"""

# Name on the command line -> folder of the prepared dataset below data_dir. The IDX datasets have a
# prefix, because TFDS has builders with the same names and must not share their folders.
OWN_DATASETS = {
    "mnist_5k": "mnist_5k/1.0.0",
    "mnist": "idx_mnist/1.0.0",
    "fashion_mnist": "idx_fashion_mnist/1.0.0",
    "kmnist": "idx_kmnist/1.0.0",
}
