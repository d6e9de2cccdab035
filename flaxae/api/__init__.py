"""The Python API: `train`, `load`, and the `Run` that both return; the commands use it too."""
