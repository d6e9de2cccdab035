"""Benchmarks: one package a question, started as `python -m benchmarks.<question>`."""
