"""Files for other programs: embeddings for the viewers, scores as tables, and pictures."""
