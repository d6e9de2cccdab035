"""What do the compiled GPU programs launch and move? Counted without a GPU."""

from dataclasses import dataclass

from benchmarks.common import command
from benchmarks.common.command import COUNTS, flag, several
from benchmarks.common.targets import TARGETS


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Compiles for GPUs that need not be there, and counts launches and bytes. Nothing is timed.

    Every GPU is combined with every form and pass. Of the other flags with several values, one is
    varied at a time, while the others keep their first value.
    """

    question = "programs"
    measure = "benchmarks.programs.report:count_programs"
    smoke_values = {  # noqa: RUF012
        "gpus": ("h100",),
        "layouts": ("NHWC",),
        "forms": ("gpu",),
        "dtypes": ("float32",),
        "downsample": ("max_pool",),
        "activations": ("relu",),
        "passes": ("train",),
        "filters": (4, 4),
        "batch_sizes": (8,),
    }
    gpus: tuple[str, ...] = several(tuple(TARGETS), "to compile for")
    passes: tuple[str, ...] = several(
        ("train", "scan", "forward", "embed"),
        "a training step, one of many in a call, the loss, the embedding",
    )
    forms: tuple[str, ...] = several(("plain", "gpu"), "of the convolutions")
    layouts: tuple[str, ...] = several(("NHWC", "NCHW"), "of the model")
    dtypes: tuple[str, ...] = several(("float32", "bfloat16"), "of the activations")
    downsample: tuple[str, ...] = several(("max_pool", "stride"), "of convolutional blocks")
    activations: tuple[str, ...] = several(("relu", "elu"), "of the hidden layers")
    filters: tuple[int, ...] = flag((16, 8, 8), "of each convolutional block", **COUNTS)
    batch_sizes: tuple[int, ...] = flag((256, 1024), "images in a step", **COUNTS)
    image_shape: tuple[int, int, int] = flag(
        (28, 28, 1), "height, width, channels", **COUNTS | {"nargs": 3}
    )
