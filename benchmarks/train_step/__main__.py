"""A training step of flaxae against plain flax.linen, Keras and PyTorch: proven equal, then timed.

    python -m benchmarks.train_step --smoke

benchmarks/README.md tells how to read what comes out; the peers are in benchmarks/requirements.txt.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.flags import Parser, count

_MODELS = ("convolutional", "convolutional_stride", "fully_connected")
# What has to be installed for a peer, by the names that Python imports.
_PEERS = {"keras": ("keras", "tensorflow"), "torch": ("torch",)}


@dataclass(frozen=True)
class Settings:
    """What to compare and how long; the fields are the flags."""

    peers: tuple[str, ...]
    models: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    repeats: int
    output_dir: Path
    smoke: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status: 2 for bad flags, 1 where it cannot go on."""
    settings = parse(arguments)
    # Imports JAX, which --help and a wrong flag do without.
    from benchmarks.common.workers import WorkerFailed
    from benchmarks.train_step.comparison import compare_steps
    from benchmarks.train_step.rows import StepsDiffer

    try:
        compare_steps(settings)
    except (StepsDiffer, WorkerFailed, OSError) as error:
        print(f"benchmarks.train_step: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse(arguments: Sequence[str] | None) -> Settings:
    """The settings that the flags ask for; --smoke overrides those that cost time.

    Raises:
        SystemExit: a flag is wrong or a peer missing that was asked for (2), or --help was (0).
    """
    parser = _parser()
    values: dict[str, Any] = vars(parser.parse_args(arguments))
    if values["smoke"]:
        values |= {"models": ["convolutional"], "batch_sizes": [8], "repeats": 3}
    asked = values["peers"]
    absent = [peer for peer in asked or _PEERS if not installed(peer)] if asked != [] else []
    if absent:
        lacking = (
            f"{' and '.join(absent)} not installed; pip install -r benchmarks/requirements.txt"
        )
        if asked:
            parser.error(f"--peers: {lacking}")
        print(f"{lacking} to compare with them too", flush=True)
    if asked is None:
        values["peers"] = [peer for peer in _PEERS if peer not in absent]
    fields: dict[str, Any] = {
        # Twice the same would start, or time, it twice.
        name: tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in values.items()
    }
    return Settings(**fields)


def installed(peer: str) -> bool:
    """Whether all that a peer needs can be imported; imports nothing."""
    return all(importlib.util.find_spec(name) is not None for name in _PEERS[peer])


def _parser() -> Parser:
    parser = Parser(
        "benchmarks.train_step",
        "A training step of flaxae against its peers: proof, times, memory.",
    )
    parser.add_argument(
        "--peers", nargs="*", choices=tuple(_PEERS), help="None: all that are installed"
    )
    parser.add_argument(
        "--models", nargs="+", default=list(_MODELS), choices=_MODELS, help="autoencoders"
    )
    parser.add_argument(
        "--batch-sizes",
        nargs="+",
        type=count,
        default=[32, 64, 256, 1024],
        metavar="N",
        help="images in a step",
    )
    parser.add_common(
        repeats=10,
        repeated="bursts of each variant",
        smoke="one model, one batch size, 3 repeats, under a minute",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
