"""Options that every model has. Light to import, because the command line reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flaxae.errors import InputError, Options, require

if TYPE_CHECKING:
    from flaxae.models.autoencoder import Autoencoder

Shape = tuple[int, int, int]  # height, width, channels
_MOST_PLACES = 100  # layers of one kind; XLA takes minutes for a thousand


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Options):
    """Computation.

    Example:
        >>> flaxae.ComputeConfig(dtype="bfloat16").layout
        'NHWC'
    """

    layout: Literal["NHWC", "NCHW"] = field(default="NHWC", metadata={"changeable": True})
    """Order of an image batch's axes inside the model; one checkpoint serves both."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the activations; parameters and sums stay float32."""
    kernels: Literal["auto", "plain", "cpu", "gpu", "fast"] = field(
        default="auto", metadata={"changeable": True}
    )
    """Form of the convolutions: plain XLA, made for a CPU or a GPU, or the device's (auto). fast is
    an earlier name of cpu."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Options):
    """Model."""

    name: ClassVar[str]
    # How a CPU runs the model fastest; measured by benchmarks/train_step.
    device_per_core: ClassVar[bool] = True  # one virtual device for each core
    # Options of the optimizer whose default is another for this model.
    recipe: ClassVar[Mapping[str, Any]] = {}

    latent_dim: int | None = None
    """Size of the embedding, set by one more dense layer (none: the last encoder layer's size)."""
    activation: Literal["relu", "gelu", "elu", "leaky_relu", "tanh"] = "elu"
    """Activation function of the hidden layers."""
    latent_noise: float = 0.0
    """Standard deviation of noise on the embedding in training; above 0, the embedding's root mean
    square is kept below 1."""
    dropout_rate: float = 0.0
    """Probability of dropping a hidden layer's output, in [0, 1)."""

    def check(self) -> None:
        if self.latent_dim is not None:
            require(self.latent_dim >= 1, "--latent-dim", self.latent_dim, "a whole number from 1")
        fits = 0 <= self.latent_noise < 100
        require(fits, "--latent-noise", self.latent_noise, "0 <= standard deviation < 100")
        require(0 <= self.dropout_rate < 1, "--dropout-rate", self.dropout_rate, "0 <= rate < 1")

    def largest_array(self, image_shape: Shape) -> int | None:
        """Numbers in the largest array that an image becomes; None: parts of a batch gain nothing.

        A CPU computes a batch in parts whose arrays fit a core's cache.
        """
        return None

    def build(self, compute: ComputeConfig, image_shape: Shape) -> "Autoencoder":
        """The linen module. A subclass imports what it needs here, and not at the top."""
        raise NotImplementedError(f"{type(self).__name__}.build")


def require_sizes(flag: str, sizes: tuple[int, ...], place: str, unit: str) -> None:
    """Raises InputError unless `sizes` has a number from 1 for at least one `place`."""
    if not sizes:
        raise InputError(
            f"{flag} got no number; give one for each {place}, for example {flag} 16 8"
        )
    if len(sizes) > _MOST_PLACES:
        raise InputError(f"{flag} got {len(sizes):,} numbers; expected at most {_MOST_PLACES}")
    for position, size in enumerate(sizes, start=1):
        if size < 1:
            raise InputError(
                f"{flag} got {size} at position {position}; every {place} needs at least one {unit}"
            )
