"""How long does a training step take beside plain flax.linen, Keras and PyTorch?"""
