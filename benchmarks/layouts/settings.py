"""The flags of the layout benchmark."""

from dataclasses import dataclass

from benchmarks.common import command
from benchmarks.common.command import COUNT, COUNTS, flag

_MODELS = ("convolutional", "fully_connected")
_DOWNSAMPLE = ("max_pool", "stride")
_DTYPES = ("float32", "bfloat16")
_PASSES = ("train", "forward")


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """NHWC against NCHW on this device: proof of equality, times, and the reason."""

    question = "layouts"
    measure = "benchmarks.layouts.comparison:compare_layouts"
    smoke_values = {  # noqa: RUF012
        "filters": (4, 4),
        "downsample": ("max_pool",),
        "dtypes": ("float32",),
        "batch_sizes": (8,),
        "repeats": 3,
    }
    models: tuple[str, ...] = flag(_MODELS[:1], "autoencoders", nargs="+", choices=_MODELS)
    filters: tuple[int, ...] = flag((16, 8, 8), "of each convolutional block", **COUNTS)
    downsample: tuple[str, ...] = flag(
        _DOWNSAMPLE, "how convolutional blocks halve the images", nargs="+", choices=_DOWNSAMPLE
    )
    dtypes: tuple[str, ...] = flag(_DTYPES, "of the activations", nargs="+", choices=_DTYPES)
    batch_sizes: tuple[int, ...] = flag((64, 256, 1024), "images in a step", **COUNTS)
    passes: tuple[str, ...] = flag(
        _PASSES, "gradients and AdamW, or the loss alone", nargs="+", choices=_PASSES
    )
    image_shape: tuple[int, int, int] = flag(
        (28, 28, 1), "of the random images: height, width, channels", **COUNTS | {"nargs": 3}
    )
    kernels: str = flag(
        "plain", "form of the convolutions; a GPU runs plain", choices=("plain", "fast", "auto")
    )
    repeats: int = flag(30, "samples of each layout", **COUNT)
