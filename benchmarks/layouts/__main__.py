"""NHWC against NCHW on this device: proves them equal, times them, and explains the difference.

    python -m benchmarks.layouts --smoke

benchmarks/README.md tells how to read what comes out.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.flags import Parser, count


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
    from benchmarks.layouts.comparison import compare_layouts
    from benchmarks.layouts.programs import LayoutsDiffer
    from flaxae.errors import InputError

    try:
        compare_layouts(settings)
    except (LayoutsDiffer, InputError, OSError) as error:
        print(f"benchmarks.layouts: error: {error}", file=sys.stderr)
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
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Settings(**fields)


def _parser() -> Parser:
    parser = Parser(
        "benchmarks.layouts", "NHWC against NCHW on this device: proof, times, and the reason."
    )

    def choose(flag: str, default: list[str], choices: tuple[str, ...], text: str) -> None:
        parser.add_argument(flag, nargs="+", default=default, choices=choices, help=text)

    choose("--models", ["convolutional"], ("convolutional", "fully_connected"), "autoencoders")
    parser.add_argument(
        "--filters",
        nargs="+",
        type=count,
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
        type=count,
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
        type=count,
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
    parser.add_common(
        repeats=30,
        repeated="samples of each layout",
        smoke="tiny model, one batch size, 3 repeats, under a minute",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
