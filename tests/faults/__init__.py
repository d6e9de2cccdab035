"""A campaign of faults against the commands: `python -m tests.faults --help`."""
