"""The fully connected autoencoder."""
