"""Sources of images, each a TFDS builder that prepares without TensorFlow.

Only `prepare.py` and the builders import TFDS; the names and versions stand here so that a dataset
that was decoded before is found without it.
"""

# name on the command line -> folder of the prepared dataset below data_dir. The IDX datasets carry
# a prefix because TFDS has builders of the same names, whose folders must not be mixed with ours.
OWN_DATASETS = {
    "mnist_5k": "mnist_5k/1.0.0",
    "mnist": "idx_mnist/1.0.0",
    "fashion_mnist": "idx_fashion_mnist/1.0.0",
    "kmnist": "idx_kmnist/1.0.0",
}
