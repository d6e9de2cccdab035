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

    filters: tuple[int, ...] | Literal["auto"] = (16, 8, 8)
    """Filters of each encoder block, which halves the image (auto: as the image's size asks)."""
    downsample: Literal["max_pool", "stride"] = "max_pool"
    """Halve by 2x2 max pooling, or by a third convolution with stride 2."""
    dense_units: tuple[int, ...] = ()
    """Units of dense layers between the last block and the embedding, and back (none: no layer)."""

    def check(self) -> None:
        super().check()
        if self.filters != "auto":
            require_sizes("--filters", self.filters, "block", "filter")
        if self.dense_units:
            require_sizes("--dense-units", self.dense_units, "layer", "unit")

    def filters_for(self, image_shape: Shape) -> tuple[int, ...]:
        """The filters of each block for images of this shape.

        "auto" halves until no side is longer than 8 pixels. The last block has 64 filters, the one
        before 32, and those before 16, so that large images stay affordable.

        Example:
            >>> flaxae.ConvolutionalConfig(filters="auto").filters_for((28, 28, 1))
            (32, 64)
        """
        if self.filters != "auto":
            return self.filters
        halvings = max(1, (max(image_shape[:2]) - 1).bit_length() - 3)
        return (*[16] * (halvings - 2), 32, 64)[-halvings:]

    def largest_array(self, image_shape: Shape) -> int:
        """Numbers in the first block's output, before it halves the image."""
        height, width, _ = image_shape
        return height * width * self.filters_for(image_shape)[0]

    def build(self, compute: ComputeConfig, image_shape: Shape) -> "Autoencoder":
        """The linen module for images of `image_shape`."""
        from flaxae.models.autoencoder import Autoencoder
        from flaxae.models.convolutional.modules import Decoder, Encoder

        options = (self, compute, image_shape)
        halves = Encoder(*options), Decoder(*options)
        return Autoencoder(*halves, compute, image_shape, self.latent_noise)
