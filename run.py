"""Runs flaxae from a checkout: `python run.py train --help`."""

from flaxae.commands.process import run

if __name__ == "__main__":
    run()
