"""Is NCHW faster than NHWC on this device, and why?"""

from dataclasses import dataclass

from benchmarks.common import command
from benchmarks.common.command import COUNT, COUNTS, flag, several


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """NHWC against NCHW on this device: proof of equality, times, and the reason."""

    question = "layouts"
    measure = "benchmarks.layouts.report:compare_layouts"
    smoke_values = {  # noqa: RUF012
        "filters": (4, 4),
        "downsample": ("max_pool",),
        "dtypes": ("float32",),
        "batch_sizes": (8,),
        "repeats": 3,
    }
    models: tuple[str, ...] = several(
        ("convolutional", "fully_connected"), "autoencoders", ("convolutional",)
    )
    filters: tuple[int, ...] = flag((16, 8, 8), "of each convolutional block", **COUNTS)
    downsample: tuple[str, ...] = several(("max_pool", "stride"), "of convolutional blocks")
    dtypes: tuple[str, ...] = several(("float32", "bfloat16"), "of the activations")
    batch_sizes: tuple[int, ...] = flag((64, 256, 1024), "images in a step", **COUNTS)
    passes: tuple[str, ...] = several(("train", "forward"), "gradients and AdamW, or the loss")
    image_shape: tuple[int, int, int] = flag(
        (28, 28, 1), "of the random images: height, width, channels", **COUNTS | {"nargs": 3}
    )
    kernels: str = flag(
        "plain", "form of the convolutions", choices=("plain", "auto", "cpu", "gpu", "fast")
    )
    repeats: int = flag(30, "samples of each layout", **COUNT)
