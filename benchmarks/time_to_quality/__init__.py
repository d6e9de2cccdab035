"""How many images and seconds does it take until the validation loss is low?"""

from dataclasses import dataclass

from benchmarks.common import command, peers
from benchmarks.common.command import COUNT, flag
from flaxae.config import TrainConfig

# Title, framework, and what `build` of benchmarks/common/steps/in_<framework>.py takes. All but
# "original" have flaxae's default recipe.
FORMS = {
    "flaxae": ("flaxae", "flaxae", ""),
    "original": ("flaxae, `--preset original`", "flaxae", ""),
    "keras": ("Keras", "keras", "plain"),
    "keras_xla": ("Keras XLA", "keras", "jit_compile"),
    "torch": ("PyTorch NHWC", "torch", "channels_last"),
    "torch_1": ("PyTorch NHWC, 1 thread", "torch", "one thread"),
    "linen": ("flax.linen", "linen", "plain"),
}
_EPOCHS = TrainConfig().epochs


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Images and seconds until the validation loss on mnist_5k reaches some levels."""

    question = "time_to_quality"
    measure = "benchmarks.time_to_quality.report:compare_times"
    smoke_values = {"seeds": (0,), "epochs": 1}  # noqa: RUF012
    forms: tuple[str, ...] = flag(None, "None: all but linen", nargs="+", choices=[*FORMS])
    seeds: tuple[int, ...] = flag((0, 1, 2), "a training each", nargs="+", type=int)
    epochs: int = flag(_EPOCHS, "of each training, and of its schedule", **COUNT)

    def __post_init__(self) -> None:
        wanted = self.forms or [form for form in FORMS if form != "linen" or self.smoke]
        needed = [peer for peer in peers.PEERS if any(FORMS[form][1] == peer for form in wanted)]
        found = ("flaxae", "linen", *peers.present(needed, "--forms" if self.forms else None))
        chosen = tuple(form for form in FORMS if form in wanted and FORMS[form][1] in found)
        object.__setattr__(self, "forms", chosen)  # the dataclass is frozen
