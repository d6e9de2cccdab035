"""Options of the fully connected autoencoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from flaxae.models.options import ComputeConfig, ModelConfig, Shape, require_sizes

if TYPE_CHECKING:
    from flaxae.models.autoencoder import Autoencoder


@dataclass(frozen=True, kw_only=True)
class FullyConnectedConfig(ModelConfig):
    """Fully connected model.

    Dense layers on the pixels of an image, and the same in reverse.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> flaxae.FullyConnectedConfig(hidden_units=(256, 2), activation="elu").hidden_units
        (256, 2)
    """

    name: ClassVar[str] = "fully_connected"
    # Its matrix products use all cores by themselves.
    device_per_core: ClassVar[bool] = False
    recipe: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
    }

    hidden_units: tuple[int, ...] = (128, 64, 32)
    """Units of each encoder layer; without --latent-dim the last one is the embedding."""

    def check(self) -> None:
        super().check()
        require_sizes("--hidden-units", self.hidden_units, "layer", "unit")

    def build(self, compute: ComputeConfig, image_shape: Shape) -> "Autoencoder":
        """The linen module for images of `image_shape`."""
        from flaxae.models.autoencoder import Autoencoder
        from flaxae.models.fully_connected.modules import Decoder, Encoder

        options = (self, compute, image_shape)
        halves = Encoder(*options), Decoder(*options)
        return Autoencoder(*halves, compute, image_shape, self.latent_noise)
