"""A folder with images, a store and a run, which every case finds as it was.

`photos/` is a folder of images and `store/` has them decoded, `run/` is a run of three epochs of
four, `tfds/` a prepared dataset, and `tmp/` is empty. A case damages it; `restore` copies it back.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.process import ROOT, Ended, Running, Template, start
from tests.fixtures.compiling import xla_flags

SMALL = ["--filters", "3", "2", "--batch-size", "16", "--no-report"]
TRAIN = ["train", "--dataset", "photos/", "--workdir", "run", *SMALL, "--schedule-epochs", "4"]
WHOLE = [*TRAIN, "--epochs", "4"]  # what resuming ends with
# Lasts for some seconds after its first epoch, so that something can happen in them.
LONG = ["train", "--dataset", "photos/", "--workdir", "run", *SMALL, "--schedule", "constant"]
LONG += ["--epochs", "40"]
DIGITS = [
    *("train", "--dataset", "mnist_5k", "--model", "fully_connected", "--hidden-units", "8", "4"),
    *("--batch-size", "400", "--train-limit", "400", "--epochs", "1", "--workdir", "digits"),
]
EVALUATE = ["evaluate", "--workdir", "run"]
EMBED = ["embed", "--workdir", "run", "--output-dir", "out"]
_PARTS = ("photos", "tfds", "store", "run", "tmp", "home", "out")
_TIMES = ("seconds", "images_per_second")
PREPARE = (
    "import sys; from flaxae.data import DataConfig; from flaxae.data.sources import open_source; "
    "open_source(DataConfig(dataset=sys.argv[1], store_dir='prepared')).splits()"
)
SECONDS = 120  # of a command that is to succeed; it is killed then


class Lost(Exception):
    """A case that did not survive: what came."""


class Skipped(Exception):
    """A case that cannot be tried on this machine: why."""


class Stage:
    """See the module. `expected` has the numbers of undisturbed commands."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self.folder, self._pristine = folder, folder.with_name(folder.name + "-pristine")
        self.files = folder.with_name(folder.name + "-output")
        self.commands: list[str] = []
        self.expected: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        for path in (folder, self.files, *(folder / part for part in _PARTS if part != "out")):
            path.mkdir(parents=True, exist_ok=True)
        self.env = _environment(folder, shared)
        self._png = shared / "png"
        self._template = Template(folder, self.env)

    def path(self, name: str) -> Path:
        return self.folder / name

    def start(self, *words: str, **options: Any) -> Running:
        """Starts a real process."""
        self.commands.append(" ".join(words))
        env = self.env | options.pop("env", {})
        files = self.files / str(len(self.commands))
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        return start(words, self.folder, env, files, **options)

    def prepare(self, **options: Any) -> Running:
        """Starts a real process that decodes `png/` into the store `prepared/`."""
        return self.start(str(self._png), program=("-c", PREPARE), **options)

    def run(self, *words: str, limit: float = SECONDS, do: str = "main") -> Ended:
        """Runs a forked process to its end."""
        if do == "main":
            self.commands.append(" ".join(words))
        files = self.files / "forked"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        return self._template.start(words, files, do).wait(limit)

    def build(self) -> None:
        """Makes the images and the run, and learns what undisturbed commands give."""
        for row, image in enumerate(_images(60, (16, 12))):
            _save(self.path("photos") / ("ant", "bee")[row % 2] / f"{row:02}.png", image)
        self._must(*DIGITS)
        self.expected["digits"] = self.numbers("digits")
        remove(self.path("digits"))
        remove(self.path("store"))
        self._must(*WHOLE)
        self.expected["run"] = self.numbers("run")
        self.expected["files"] = self.listing("run")
        shutil.rmtree(self.path("run"))
        self.measure("train", self.start(*WHOLE))
        shutil.rmtree(self.path("run"))
        self._must(*TRAIN, "--epochs", "3")
        for path in self.path("tmp").iterdir():  # of preparing the dataset, which a case judges
            remove(path)
        shutil.copytree(self.folder, self._pristine, symlinks=True)
        self.expected["step"] = self.evaluated(self._must(*EVALUATE))["step"]
        for step in self.steps():
            words = ["--checkpoint", str(step)]
            self.expected[f"evaluate {step}"] = self.evaluated(self._must(*EVALUATE, *words))
            self._must(*EMBED, *words)
            self.expected[f"embed {step}"] = self.tree("out")
        self.measure("evaluate", self.start(*EVALUATE))
        self.measure("embed", self.start(*EMBED))
        self.measure("prepare", self.prepare())
        self.expected["prepared"] = self.tree("prepared")
        remove(self.path("tfds"))
        self.measure("dataset", self.start(*DIGITS))
        self.restore()

    def measure(self, name: str, running: Running) -> None:
        """Learns how long an undisturbed real process takes."""
        began = time.monotonic()
        ended = running.wait(SECONDS)
        self.seconds[name] = time.monotonic() - began
        if ended.status:
            raise RuntimeError(f"{ended.command}: {ended.stderr}")

    def learn_long(self) -> None:
        """Learns the numbers of `LONG`, of which few cases have need, and removes the run."""
        remove(self.path("run"))
        if "long" not in self.expected:
            self._must(*LONG)
            self.expected["long"] = self.numbers("run")
            remove(self.path("run"))

    def restore(self) -> None:
        """Brings everything back as `build` left it."""
        self.commands.clear()
        for path in self.folder.iterdir():
            remove(path)
        for path in self._pristine.iterdir():
            shutil.copytree(path, self.folder / path.name, symlinks=True)

    def close(self) -> None:
        self._template.close()

    def steps(self) -> list[int]:
        """The checkpoints of the run, in order."""
        folder = self.path("run/checkpoints")
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())

    def numbers(self, workdir: str) -> dict[str, Any]:
        """The metrics of every epoch without times, and the weights of the checkpoints."""
        ended = self.run(workdir, do="weights")
        if ended.status:
            raise Lost(f"the run cannot be read afterwards: {ended.stderr[-300:]}")
        weights = json.loads(ended.stdout.splitlines()[-1])
        return {"rows": self.rows(workdir), "weights": weights}

    def rows(self, workdir: str) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without times."""
        try:
            lines = (self.path(workdir) / "metrics.jsonl").read_text().splitlines()
            found = [json.loads(line) for line in lines]
            return [{k: v for k, v in row.items() if k not in _TIMES} for row in found]
        except (OSError, ValueError, AttributeError) as error:
            raise Lost(f"metrics.jsonl cannot be read afterwards: {error}") from error

    def evaluated(self, ended: Ended) -> dict[str, Any]:
        """The JSON of `evaluate`."""
        return json.loads(ended.stdout.splitlines()[-1])

    def tree(self, name: str) -> dict[str, bytes]:
        """The files below a folder and their bytes."""
        top = self.path(name)
        return {
            str(path.relative_to(top)): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def listing(self, name: str) -> list[str]:
        """The names of the files below a folder; those of checkpoints and events vary, by kind."""
        top = self.path(name)
        names = [str(p.relative_to(top)) for p in top.rglob("*") if not p.is_dir()]
        kept = [n for n in names if not n.startswith("checkpoints/")]
        return sorted({"events" if "tfevents" in n else n for n in kept})

    def _must(self, *words: str) -> Ended:
        ended = self.run(*words)
        if ended.status:
            raise RuntimeError(f"{ended.command}: {ended.stderr}")
        return ended


def remove(path: Path) -> None:
    """Deletes a file or a folder, whatever its permissions."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()  # a pipe too, which rmtree would wait for
    elif path.exists():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def make_png(folder: Path, count: int) -> None:
    """Writes many small PNGs, whose decoding takes long enough to be interrupted."""
    for row, image in enumerate(_images(count, (24, 24))):
        _save(folder / f"{row:05}.png", image)


def _images(count: int, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.integers(40, 200, (count, 1, 1)) + rng.integers(0, 40, (count, *size))).astype("u1")


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _environment(folder: Path, shared: Path) -> dict[str, str]:
    """The same on every machine; compiled programs are shared, so that few are compiled."""
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "LC_ALL") if k in os.environ}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "FLAXAE_STORE_DIR": str(folder / "store"),
        "TFDS_DATA_DIR": str(folder / "tfds"),
        "MPLCONFIGDIR": str(shared / "matplotlib"),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "XLA_FLAGS": xla_flags(),
        "JAX_COMPILATION_CACHE_DIR": str(shared / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
