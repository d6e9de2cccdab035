"""One part in this process: `python -m benchmarks.gpu.part NAME FOLDER [--smoke]`."""

import json
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common.report import plain, to_text
from flaxae.data.atomic import write_atomically

_FUNCTIONS = {
    "environment": "benchmarks.gpu.environment:environment",
    "steps": "benchmarks.gpu.steps:steps",
    "steps_bfloat16": "benchmarks.gpu.steps:steps_bfloat16",
    "epochs": "benchmarks.gpu.steps:epochs",
    "flags": "benchmarks.gpu.steps:flags",
    "start": "benchmarks.gpu.training:start",
    "training": "benchmarks.gpu.training:training",
}


def run(name: str, folder: Path, smoke: bool) -> None:
    """Calls the part with a function that writes what it has so far to gpu-NAME.json."""
    begun = time.monotonic()

    def write(result: Any) -> None:
        report = {"part": name, "smoke": smoke, "seconds": time.monotonic() - begun}
        text = to_text(plain({**report, "result": result}))
        # Atomically, because a part that takes too long is killed.
        write_atomically(folder / f"gpu-{name}.json", text.encode())

    pkgutil.resolve_name(_FUNCTIONS[name])(write, smoke)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), "--smoke" in sys.argv)
    print(json.dumps({"part": sys.argv[1]}))
