"""Runs flaxae from a checkout: `python run.py train --help`."""

import sys

from flaxae.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
