"""NHWC against NCHW on this device: proves them equal, times them, and explains the difference.

    python benchmarks/layouts.py --smoke

benchmarks/README.md tells how to read what comes out.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Run as a script, Python looks beside this file; what is imported lies one folder above.
_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

_RESULTS = _ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Settings:
    """What to compare and how long; the fields are the flags."""

    models: tuple[str, ...]
    filters: tuple[int, ...]
    downsample: tuple[str, ...]
    dtypes: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    passes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    kernels: str
    repeats: int
    output_dir: Path
    smoke: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status: 2 for bad flags, 1 where it cannot go on."""
    settings = parse(arguments)
    # Imports JAX, which --help and a wrong flag do without.
    from benchmarks.comparison import compare_layouts
    from benchmarks.programs import LayoutsDiffer
    from flaxae.errors import InputError

    try:
        compare_layouts(settings)
    except (LayoutsDiffer, InputError, OSError) as error:
        print(f"layouts.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse(arguments: Sequence[str] | None) -> Settings:
    """The settings that the flags ask for; --smoke overrides those that cost time.

    Raises:
        SystemExit: a flag is wrong (2), or --help was asked for (0).
    """
    parser = _parser()
    values: dict[str, Any] = vars(parser.parse_args(arguments))
    if values["smoke"]:
        values |= {
            "models": ["convolutional"],
            "filters": [4, 4],
            "downsample": ["max_pool"],
            "dtypes": ["float32"],
            "batch_sizes": [8],
            "repeats": 3,
        }
    folder = values["output_dir"]
    if folder.exists() and not folder.is_dir():
        parser.error(f"--output-dir {folder} is a file; give a folder")
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Settings(**fields)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage that argparse puts before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        description="NHWC against NCHW on this device: proof, times, and the reason.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )

    def choose(flag: str, default: list[str], choices: tuple[str, ...], text: str) -> None:
        parser.add_argument(flag, nargs="+", default=default, choices=choices, help=text)

    choose("--models", ["convolutional"], ("convolutional", "fully_connected"), "autoencoders")
    parser.add_argument(
        "--filters",
        nargs="+",
        type=_count,
        default=[16, 8, 8],
        metavar="N",
        help="of each block of the convolutional one",
    )
    choose(
        "--downsample",
        ["max_pool", "stride"],
        ("max_pool", "stride"),
        "how the convolutional one halves its images",
    )
    choose(
        "--dtypes",
        ["float32", "bfloat16"],
        ("float32", "bfloat16"),
        "types of the activations",
    )
    parser.add_argument(
        "--batch-sizes",
        nargs="+",
        type=_count,
        default=[64, 256, 1024],
        metavar="N",
        help="images in a step",
    )
    choose(
        "--passes",
        ["train", "forward"],
        ("train", "forward"),
        "gradients and AdamW, or the loss alone",
    )
    parser.add_argument(
        "--image-shape",
        nargs=3,
        type=_count,
        default=[28, 28, 1],
        metavar=("HEIGHT", "WIDTH", "CHANNELS"),
        help="of the random images",
    )
    parser.add_argument(
        "--kernels",
        default="plain",
        choices=("plain", "fast", "auto"),
        help="form of the convolutions; plain is what a GPU runs",
    )
    parser.add_argument(
        "--repeats", type=_count, default=30, metavar="N", help="samples of each layout"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=_RESULTS, metavar="FOLDER", help="for JSON and PNG"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny model, one batch size, 3 repeats, under a minute"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
