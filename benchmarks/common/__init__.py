"""What at least two benchmarks use."""
