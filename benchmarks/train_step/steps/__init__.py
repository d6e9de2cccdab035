"""The training step in each framework, from the same weights and images."""
