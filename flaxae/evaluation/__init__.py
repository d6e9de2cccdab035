"""A trained model over a split: reconstructions, embeddings, and their quality."""
