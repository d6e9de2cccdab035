"""Images in: the sources, the store of decoded arrays, and batches."""
