"""A process that has imported what the commands import, and forks for each of them.

Requests are lines of JSON on stdin. The answers are two lines each: the process id, and the status
as subprocess has it. JAX has not been used when it forks, so that it starts its threads and devices
in the child.
"""

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any


def serve() -> int:
    """Answers requests until stdin ends; in a child, returns the exit status of its command."""
    _import()
    warnings.simplefilter("ignore")  # JAX and Python warn of forks
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            warnings.resetwarnings()
            return _command(request)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def _import() -> None:
    import flaxae.api.load
    import flaxae.api.run
    import flaxae.api.train
    import flaxae.commands.main
    import flaxae.data.sources.prepare
    import flaxae.evaluation.embedding_quality
    import flaxae.evaluation.pca
    import flaxae.export.embedding
    import flaxae.report.plots  # noqa: F401


def _command(request: dict[str, Any]) -> int:
    os.setsid()
    for number, (name, flags) in enumerate(
        (("/dev/null", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))
    ):
        path = os.path.join(request["files"], name)
        descriptor = os.open(path, flags | os.O_CREAT | os.O_TRUNC if number else flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    if request["do"] == "weights":
        return _weights(Path(request["arguments"][0]))
    from flaxae.commands.main import main

    sys.argv = ["run.py", *request["arguments"]]
    return main(request["arguments"])


def _weights(workdir: Path) -> int:
    """Prints the step and the sha256 of the weights of the latest and the best checkpoint."""
    import jax
    import numpy as np

    import flaxae

    found: dict[str, Any] = {}
    for which in ("latest", "best"):
        run = flaxae.load(workdir, which)
        total = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(run.variables):
            array = np.asarray(leaf)
            total.update(f"{path} {array.dtype} {array.shape}".encode() + array.tobytes())
        found[which] = [run.step, total.hexdigest()]
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(serve())
