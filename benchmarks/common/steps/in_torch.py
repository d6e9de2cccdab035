"""The step in PyTorch, eager or compiled, with contiguous or channels_last tensors."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

from benchmarks.common.steps import Program
from benchmarks.common.steps.workload import Layer, Workload, crops, layers, to_float


def build(workload: Workload, form: str) -> Program:
    """`form` is "contiguous" or "channels_last"; "compiled" and "one thread" have the latter too.

    With several threads PyTorch loses most of its time where other programs use the same cores.
    """
    if form == "one thread":
        torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order: Any = torch.contiguous_format if form == "contiguous" else torch.channels_last
    model = Autoencoder(workload)
    model.to(device)
    model.to(memory_format=order)  # pyright: ignore[reportCallIssue]
    every = layers(workload)
    parts: list[Any] = list(model.parts)
    forward: Any = torch.compile(model) if form == "compiled" else model
    optimizer: list[torch.optim.Optimizer] = []
    ahead: Iterator[float] = iter(())  # the rates of the steps to come

    def restart() -> None:
        nonlocal ahead
        with torch.no_grad():
            for module, layer in zip(parts, every, strict=True):
                module.weight.copy_(torch.from_numpy(layer.for_torch()))
                module.bias.copy_(torch.from_numpy(layer.bias))
        rates, beta2, decay, epsilon = workload.recipe
        groups = [
            {"params": [module.weight for module in parts], "weight_decay": decay},
            {"params": [module.bias for module in parts], "weight_decay": 0.0},
        ]
        # The fused form, one call for all parameters, is PyTorch's fastest.
        options: Any = {"betas": (0.9, beta2), "eps": epsilon, "fused": True}
        optimizer[:] = [torch.optim.AdamW(groups, **options)]
        ahead = itertools.chain(map(float, rates), itertools.repeat(float(rates[-1])))

    def to_input(images: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(to_float(images).transpose(0, 3, 1, 2))
        return tensor.to(device).contiguous(memory_format=order)

    def step(images: torch.Tensor) -> torch.Tensor:
        rate = next(ahead)
        for group in optimizer[0].param_groups:
            group["lr"] = rate
        optimizer[0].zero_grad()
        loss = F.binary_cross_entropy_with_logits(forward(images), images)
        loss.backward()
        optimizer[0].step()
        return loss

    def wait(loss: torch.Tensor) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return float(loss.detach())

    def logits(images: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return model(images).permute(0, 2, 3, 1).cpu().numpy()

    restart()
    return Program(restart, to_input, step, wait, logits, "gpu" if device == "cuda" else "cpu")


class Autoencoder(nn.Module):
    """The layers in a sequence."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.workload = workload
        self.layers = layers(workload)
        self.parts = nn.ModuleList(_part(layer) for layer in self.layers)
        # The surplus row and column of the last upsampling lie outside the image: no need to crop.
        self.uncropped = len(self.layers) - 2 if min(crops(workload)) > 0 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = x.shape
        if self.workload.model == "fully_connected":
            x = x.flatten(1)
        for index, (layer, part) in enumerate(zip(self.layers, self.parts, strict=True)):
            x = _apply(layer, part, x, crop=index != self.uncropped)
            x = getattr(F, layer.activation)(x) if layer.activation else x
            x = F.max_pool2d(x, 2, ceil_mode=True) if layer.pooled else x
        if self.workload.model == "fully_connected":
            return x.view(shape)
        top, left = (surplus // 2 for surplus in crops(self.workload))
        return x[:, :, top : top + shape[2], left : left + shape[3]]


def _part(layer: Layer) -> nn.Module:
    *_, inputs, outputs = layer.kernel.shape
    if layer.kind == "dense":
        return nn.Linear(inputs, outputs)
    kind = nn.Conv2d if layer.kind == "convolution" else nn.ConvTranspose2d
    return kind(inputs, outputs, 3, layer.stride, padding=1 if layer.stride == 1 else 0)


def _apply(layer: Layer, part: nn.Module, x: torch.Tensor, crop: bool) -> torch.Tensor:
    """A layer with SAME padding, which PyTorch does not offer with a stride."""
    if layer.stride == 1:
        return part(x)
    height, width = x.shape[2:]
    if layer.kind == "transposed":  # its result has one row and one column more
        return part(x)[:, :, : 2 * height, : 2 * width] if crop else part(x)
    # An even size is padded at its end only, an odd size at both ends.
    return part(F.pad(x, (width % 2, 1, height % 2, 1)))
