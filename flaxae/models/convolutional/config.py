"""Options of the convolutional autoencoder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from flaxae.models.options import ComputeConfig, ModelConfig, Shape, require_sizes

if TYPE_CHECKING:
    from flaxae.models.autoencoder import Autoencoder


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(ModelConfig):
    """Convolutional model.

    Blocks of two 3x3 convolutions that halve the image, and transposed convolutions back.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> flaxae.ConvolutionalConfig(filters=(32, 64), latent_dim=64).filters
        (32, 64)
    """

    name: ClassVar[str] = "convolutional"

    filters: tuple[int, ...] = (16, 8, 8)
    """Filters of each encoder block; every block halves height and width."""
    downsample: Literal["max_pool", "stride"] = "max_pool"
    """Halve by 2x2 max pooling, or by a third convolution with stride 2."""

    def check(self) -> None:
        super().check()
        require_sizes("--filters", self.filters, "block", "filter")

    def build(self, compute: ComputeConfig, image_shape: Shape) -> "Autoencoder":
        """The linen module for images of `image_shape`."""
        from flaxae.models.autoencoder import Autoencoder
        from flaxae.models.convolutional.modules import Decoder, Encoder

        options = (self, compute, image_shape)
        return Autoencoder(Encoder(*options), Decoder(*options), compute, image_shape)
