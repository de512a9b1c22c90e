"""The state of training: all that may influence the next step, and nothing else does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fromscratch.model.decoder import Decoder
from fromscratch.optim.build import Updater

__all__ = ["TrainState"]

MODEL, OPTIMIZER = "model.", "optimizer."


@dataclass
class TrainState:
    """Weights, optimiser and position. The schedule and batch number ``step`` are pure functions of ``step``."""

    model: Decoder
    updater: Updater
    step: int = 0
    """Steps finished, which is also the number of the next batch."""
    tokens: int = 0
    """Positions with a loss trained on so far."""

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors of weights and optimiser by name, for a checkpoint."""
        model = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}
        return model | {OPTIMIZER + name: tensor for name, tensor in self.updater.state_tensors().items()}

    def facts(self) -> dict[str, Any]:
        """What of the state is no tensor."""
        return {"step": self.step, "tokens": self.tokens}

    def blanks(self) -> Callable[[str, torch.Size, torch.dtype], Tensor | None]:
        """Where each saved tensor is to be read, as this process holds it: weights into themselves, the optimiser's
        state shared out as its weight is; None for what others hold."""
        weights = self.model.state_dict()

        def blank(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor | None:
            if name.startswith(MODEL):
                return weights.get(name.removeprefix(MODEL))
            weight = weights.get(name.removeprefix(OPTIMIZER).rpartition(".")[0])
            if weight is None:
                return None
            if weight.shape == shape:
                return torch.empty_like(weight, dtype=dtype)
            return torch.empty(shape, dtype=dtype, device=weight.device)

        return blank

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Become the state that ``tensors`` and ``facts`` were taken from, bit for bit."""
        self.model.load_state_dict(_under(MODEL, tensors))
        self.updater.load_state_tensors(_under(OPTIMIZER, tensors))
        self.step, self.tokens = facts["step"], facts["tokens"]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
