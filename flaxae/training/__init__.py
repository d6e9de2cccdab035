"""The training step, the epochs, and the devices that they run on.

`SCHEDULES` names the learning rate's schedules, as `flaxae.objectives` names the losses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from flaxae.errors import LARGEST, InputError, Options, require

DataOnDevice = Literal["auto", "on", "off"] | bool  # True is on, False is off

_MOST_STEPS = 2**31  # that JAX counts, in int32

# (OptimizerConfig, steps) -> optax schedule of the steps that follow the warm-up
SCHEDULES: dict[str, str | Callable[..., Any]] = {
    "staircase": "flaxae.training.schedules:staircase",
    "cosine": "flaxae.training.schedules:cosine",
    "constant": "flaxae.training.schedules:constant",
}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Options):
    """Optimization.

    Raises:
        InputError: a value is out of range, or `schedule` is not in `SCHEDULES`.

    Example:
        >>> flaxae.OptimizerConfig(schedule="constant", batch_size=32).beta2
        0.95
    """

    batch_size: int = 16
    """Images in a training step."""
    learning_rate: float = 0.02
    """AdamW's highest learning rate: that after the warm-up."""
    schedule: str = field(default="cosine", metadata={"choices": SCHEDULES})
    """How the learning rate falls: in steps, as half a cosine, or not at all."""
    warmup: float = 0.05
    """Fraction of the schedule's steps in which the rate rises linearly from 0, in [0, 1)."""
    schedule_epochs: int | None = None
    """Epochs that warm-up and cosine are spread over (none: the epochs of the first start)."""
    final_learning_rate: float = 0.0
    """Cosine: learning rate at the end."""
    learning_rate_decay: float = 0.96
    """Staircase: factor on the learning rate after every --decay-steps steps, in (0, 1]."""
    decay_steps: int = 1000
    """Staircase: steps between two decays of the learning rate."""
    weight_decay: float = 1e-5
    """AdamW's decoupled decay, on kernels only, per unit of learning rate."""
    beta2: float = 0.95
    """AdamW's decay of the mean of squared gradients, in [0, 1)."""
    clip_norm: float | None = None
    """Largest norm of the gradients; larger ones are scaled down to it (none: no clipping)."""
    ema_decay: float = 0.0
    """Decay of the weights' moving average, in [0, 1), which is then evaluated (0: no average)."""

    def check(self) -> None:
        require(self.batch_size >= 1, "--batch-size", self.batch_size, "a whole number from 1")
        require(
            positive(self.learning_rate), "--learning-rate", self.learning_rate, "> 0, < 3.4e38"
        )
        known = ", ".join(SCHEDULES)
        require(self.schedule in SCHEDULES, "--schedule", self.schedule, f"one of {known}")
        require(0 <= self.warmup < 1, "--warmup", self.warmup, "0 <= fraction < 1")
        if self.schedule_epochs is not None:
            fits = self.schedule_epochs >= 1
            require(fits, "--schedule-epochs", self.schedule_epochs, "a whole number from 1")
        final = self.final_learning_rate
        within = 0 <= final <= self.learning_rate
        require(within, "--final-learning-rate", final, "0 to --learning-rate")
        decay = self.learning_rate_decay
        require(0 < decay <= 1, "--learning-rate-decay", decay, "0 < factor <= 1")
        fits = 1 <= self.decay_steps < _MOST_STEPS
        require(fits, "--decay-steps", self.decay_steps, "a whole number from 1, below 2**31")
        fits = self.weight_decay == 0 or positive(self.weight_decay)
        require(fits, "--weight-decay", self.weight_decay, "0 <= decay < 3.4e38")
        require(0 <= self.beta2 < 1, "--beta2", self.beta2, "0 <= decay < 1")
        if self.clip_norm is not None:
            require(positive(self.clip_norm), "--clip-norm", self.clip_norm, "> 0, < 3.4e38")
        require(0 <= self.ema_decay < 1, "--ema-decay", self.ema_decay, "0 <= decay < 1")

    def has_horizon(self) -> bool:
        """Whether the schedule depends on its number of epochs; one of a user's own may."""
        return self.warmup > 0 or self.schedule not in ("staircase", "constant")

    def refuse_beyond_horizon(self, epochs: int) -> None:
        """Raises InputError where epochs would be trained with a learning rate of 0."""
        horizon = self.schedule_epochs or epochs
        ends_at_zero = self.schedule == "cosine" and self.final_learning_rate == 0
        if ends_at_zero and epochs > horizon:
            raise InputError(
                f"--epochs got {epochs}, but the cosine schedule reaches a learning rate of 0 "
                f"after {horizon} epochs and further epochs would change nothing; train anew in "
                f"another --workdir with --schedule-epochs {epochs}, or with "
                "a --final-learning-rate above 0"
            )

    def refuse_too_many_steps(self, epochs: int, images: int) -> None:
        """Raises InputError where so many epochs of a split have more steps than can be counted."""
        longest = max(epochs, self.schedule_epochs or 0)
        steps = longest * (images // min(self.batch_size, images))
        flag = "--epochs" if longest == epochs else "--schedule-epochs"
        came = f"{longest}, which are {steps} steps"
        require(steps < _MOST_STEPS, flag, came, "fewer than 2**31 steps; lower it")


@dataclass(frozen=True, kw_only=True)
class DeviceConfig(Options):
    """Device.

    Raises:
        InputError: `steps_per_call` is below 1.

    Example:
        >>> flaxae.DeviceConfig(data_on_device="on").steps_per_call is None
        True
    """

    data_on_device: DataOnDevice = field(
        default="auto", metadata={"changeable": True, "bare": "on"}
    )
    """Keep all training images on the device and gather batches there. auto: on a GPU or TPU that
    has the room; without a value: on."""
    steps_per_call: int | None = field(default=None, metadata={"changeable": True})
    """Training steps in a call (none: about 50; on a CPU 10; 1 to profile)."""
    devices: int | None = field(default=None, metadata={"changeable": True})
    """Devices of each process that share every batch (none: all; on a CPU one for each core, or one
    in each of several processes)."""

    def check(self) -> None:
        if self.devices is not None:
            require(self.devices >= 1, "--devices", self.devices, "a whole number from 1")
        if self.steps_per_call is not None:
            fits = self.steps_per_call >= 1
            require(fits, "--steps-per-call", self.steps_per_call, "a whole number from 1")


@dataclass(frozen=True, kw_only=True)
class ProcessesConfig(Options):
    """Several processes.

    Raises:
        InputError: the three that name the processes are not given together.

    Example:
        >>> from flaxae.training import ProcessesConfig
        >>> ProcessesConfig(coordinator="10.0.0.1:1234", processes=2, process_id=0).is_wanted
        True
    """

    distributed: bool = False
    """Work in several processes, which SLURM, Open MPI, Kubernetes or a TPU pod has started."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where nothing of that kind tells it; the port is free there."""
    processes: int | None = None
    """Number of processes, with --coordinator."""
    process_id: int | None = None
    """Number of this process, from 0, with --coordinator."""
    wait_minutes: float = 5.0
    """Minutes that a process which is late or slow is waited for."""

    def check(self) -> None:
        given = [self.coordinator, self.processes, self.process_id]
        flags = "--coordinator, --processes and --process-id"
        together = all(v is None for v in given) or None not in given
        came = " ".join(str(value) for value in given if value is not None)
        require(together, flags, f"only {came}", "all three, or none")
        fits = 0 < self.wait_minutes < 10**6
        require(fits, "--wait-minutes", self.wait_minutes, "minutes above 0, below 1,000,000")
        if self.coordinator is None or self.processes is None or self.process_id is None:
            return
        host, _, port = self.coordinator.rpartition(":")
        fits = host != "" and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 2**16
        require(fits, "--coordinator", self.coordinator[:80], "HOST:PORT, as 10.0.0.1:1234")
        require(self.processes >= 1, "--processes", self.processes, "a whole number from 1")
        inside = 0 <= self.process_id < self.processes
        require(inside, "--process-id", self.process_id, f"0 to {self.processes - 1}")

    @property
    def is_wanted(self) -> bool:
        """Whether there are several processes."""
        return self.distributed or self.coordinator is not None


def positive(value: float) -> bool:
    """Whether a number is above 0, and finite in float32."""
    return 0 < value < LARGEST
