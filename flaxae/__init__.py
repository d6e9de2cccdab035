"""flaxae: autoencoders for images, trained from the command line with JAX and Flax."""

__version__ = "0.1.0"
