"""The command line of a benchmark: one line about a wrong flag, and the flags that all have."""

import argparse
from pathlib import Path
from typing import NoReturn

_RESULTS = Path(__file__).resolve().parents[1] / "results"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage that argparse puts before it."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see --help\n")

    def add_common(self, *, repeats: int, repeated: str, smoke: str) -> None:
        """--repeats, --output-dir and --smoke, with what they do in this benchmark."""
        self.add_argument("--repeats", type=count, default=repeats, metavar="N", help=repeated)
        self.add_argument(
            "--output-dir", type=_folder, default=_RESULTS, metavar="FOLDER", help="for the results"
        )
        self.add_argument("--smoke", action="store_true", help=smoke)


def count(text: str) -> int:
    """A whole number from 1, as the type of a flag.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1")
    return int(text)


def _folder(text: str) -> Path:
    folder = Path(text)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder} is a file; give a folder")
    return folder
