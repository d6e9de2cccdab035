"""Steps on images that lie on the device: by form, batch size, steps in a call and XLA's flags."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

import flaxae
from benchmarks.common import device, hlo, launches
from benchmarks.common.intervals import summarize
from benchmarks.common.roofline import Cost, floor_seconds, measure_ceilings
from benchmarks.common.timing import interleave
from flaxae.data.batches import Rows
from flaxae.models import ops
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.step import gradient_sums, many_steps, train_step

_IMAGES, _SHAPE = 60_000, (28, 28, 1)
_FLAGS: dict[str, dict[str, Any]] = {
    "as XLA has it": {},
    "no command buffers": {"xla_gpu_enable_command_buffer": ""},
    "convolution fusions": {"xla_gpu_experimental_enable_conv_fusion": True},
}
Write = Callable[[Any], None]


class Program:
    """A compiled call of several steps on resident images, and the state that it goes on with."""

    def __init__(
        self, form: str, dtype: str, batch: int, steps: int, options: dict[str, Any] | None = None
    ) -> None:
        small = {"filters": (4, 2)} if batch < 16 else {}  # as in a smoke run
        config = flaxae.preset("original", model="convolutional", **small)
        own = {"kernels": form}
        compute = flaxae.ComputeConfig(dtype=dtype, **own)  # type: ignore[arg-type]
        joined = ops.operations(compute.kernels, jax.default_backend()) is ops.gpu
        model = config.model.build(compute, _SHAPE)
        rngs = make_rngs(0)
        state = create_train_state(model, make_optimizer(config.optimizer, 1), rngs.init)
        sums = partial(gradient_sums, config=config.objective, joined=joined)
        step = many_steps(partial(train_step, sums=sums, joined=joined))
        images = np.random.default_rng(0).integers(256, size=(_IMAGES, *_SHAPE), dtype=np.uint8)
        self.resident = (jax.device_put(images), None)
        rows = np.random.default_rng(1).integers(_IMAGES, size=(steps, batch), dtype=np.int32)
        self.rows = jax.device_put(Rows(rows, np.ones((steps, batch), bool)))
        self.state, self.rng, self.steps, self.batch = state, rngs.train, steps, batch
        begun = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=0).lower(state, self.rows, self.rng, self.resident)
        self.executable = lowered.compile(compiler_options=options or None)
        self.compile_seconds = time.perf_counter() - begun

    def call(self, _: Any = None) -> Any:
        """Dispatches the steps; blocks on nothing."""
        self.state, metrics = self.executable(self.state, self.rows, self.rng, self.resident)
        return metrics

    def counted(self) -> launches.Launches | None:
        """One step's launches and bytes; None where the program is not that of a GPU."""
        text = self.executable.as_text() or ""
        if device.runtime() != "cuda" or not text:
            return None
        return launches.count(text, loop=True)


def steps(write: Write, smoke: bool) -> None:
    """Both forms in float32 at every batch size: time, share of the floor, and memory."""
    _steps(write, smoke, "float32")


def steps_bfloat16(write: Write, smoke: bool) -> None:
    """The same in bfloat16."""
    _steps(write, smoke, "bfloat16")


def _steps(write: Write, smoke: bool, dtype: str) -> None:
    ceilings = measure_ceilings(dtype, smoke=smoke)
    result: dict[str, Any] = {"dtype": dtype, "ceilings": ceilings, "rows": []}
    # The most important first, because the part may be stopped after any of them.
    sizes = (8,) if smoke else (256, 1024, 64, 4096, 512, 2048, 128)
    for batch in sizes:
        row: dict[str, Any] = {"batch": batch}
        count, repeats = (2, 2) if smoke else (20, 8)
        programs = {form: Program(form, dtype, batch, count) for form in ("plain", "gpu")}
        samples = _samples(programs, repeats)
        for form, program in programs.items():
            counted = program.counted()
            seconds = summarize([each / program.steps for each in samples[form]])
            floor = counted and floor_seconds(Cost(1, counted.bytes), ceilings)
            row[form] = {
                "seconds": seconds,
                "images_per_second": batch / seconds.median,
                "compile_seconds": program.compile_seconds,
                "launches": counted,
                "transposes": hlo.moves(hlo.parse(program.executable.as_text() or "")),
                "floor_seconds_by_bytes": floor,
                "time_over_floor": floor and seconds.median / floor,
                "peak_bytes_of_the_process": device.peak_bytes(),
            }
        row["plain_over_gpu"] = row["plain"]["seconds"].median / row["gpu"]["seconds"].median
        result["rows"].append(row)
        best = max(result["rows"], key=lambda each: each["gpu"]["images_per_second"])
        result["best_batch"] = best["batch"]
        write(result)


def epochs(write: Write, smoke: bool) -> None:
    """1, 10, 50 and 200 steps in a call of the GPU form, with the images on the device."""
    result: dict[str, Any] = {"rows": []}
    for batch in (8,) if smoke else (256, 1024):
        for count in (1, 2) if smoke else (1, 10, 50, 200):
            program = Program("gpu", "float32", batch, count)
            calls, repeats = max(1, 50 // count), 2 if smoke else 5
            samples = _samples({"": program}, repeats, calls)[""]
            seconds = summarize([each / count for each in samples])
            result["rows"].append(
                {
                    "batch": batch,
                    "steps_in_a_call": count,
                    "seconds_per_step": seconds,
                    "epoch_seconds": seconds.median * (_IMAGES // batch),
                }
            )
            write(result)


def flags(write: Write, smoke: bool) -> None:
    """The GPU form with XLA's flags for CUDA graphs and convolution fusions, each on its own."""
    result: dict[str, Any] = {"rows": {}}
    for name, options in _FLAGS.items():
        try:
            program = Program("gpu", "float32", 8 if smoke else 256, 2 if smoke else 50, options)
            samples = _samples({"": program}, 2 if smoke else 5)[""]
            result["rows"][name] = {
                "options": options,
                "seconds_per_step": summarize([each / program.steps for each in samples]),
                "launches": program.counted(),
            }
        except Exception as error:  # a flag that this version lacks, or a program that cannot run
            failure = f"{type(error).__name__}: {error}"
            result["rows"][name] = {"options": options, "failure": failure}
        write(result)


def _samples(programs: dict[str, Program], repeats: int, calls: int = 1) -> dict[str, list[float]]:
    """Seconds of a call of each program, in turns."""
    variants = {name: program.call for name, program in programs.items()}
    return interleave(variants, [None], repeats=repeats, warmup=1, calls=calls)
