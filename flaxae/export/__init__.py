"""Exports embeddings for other programs: the projector's files, and a Parquet table."""
