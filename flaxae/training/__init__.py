"""The training step, the epochs, and the devices that they run on."""
