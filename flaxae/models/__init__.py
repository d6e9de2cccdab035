"""The autoencoders, their layers, and the operations that the layers compute with."""
