"""Optimisers over named parameters: Muon for hidden matrices, fused AdamW for the rest, and one call for both."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from fromscratch.core.errors import FromScratchError
from fromscratch.optim.muon import MuonOptimizer
from fromscratch.optim.settings import AdamW, Moves, Muon, Optimizer

__all__ = ["Factor", "Updater", "build_optimizer"]

Named = list[tuple[str, Parameter]]
Factor = Callable[[str, Moves], float]
"""What the learning rate of the parameter of this name is multiplied with, by what of its update it is the size of."""

Groups = dict[tuple[float, float], list[Parameter]]
"""Parameters by peak learning rate and weight decay."""


class Updater:
    """Changes parameters by their gradients; its state is named after the parameters, not numbered."""

    def __init__(self, optimizers: list[torch.optim.Optimizer], named: Named, peak_learning_rate: float) -> None:
        self.peak_learning_rate = peak_learning_rate
        """The one to report: Muon's where there is Muon."""
        self._optimizers = optimizers
        self._owner = {
            parameter: optimizer
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        self._named = dict(named)

    def step(self, learning_rate_share: float) -> None:
        """Update every parameter at this share of its peak learning rate and let go of the gradients."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_learning_rate"] * learning_rate_share
            optimizer.step()
            optimizer.zero_grad()

    def state_tensors(self) -> dict[str, Tensor]:
        """The live state as ``{"<parameter name>.<quantity>": tensor}``; empty before the first step."""
        return {
            f"{name}.{quantity}": value
            for name, parameter in self._named.items()
            for quantity, value in self._owner[parameter].state.get(parameter, {}).items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state by copies of what ``state_tensors`` of an equal updater gave.

        Raises ValueError if the names are not those of these parameters.
        """
        states: dict[str, dict[str, Tensor]] = {}
        for full_name, tensor in tensors.items():
            name, _, quantity = full_name.rpartition(".")
            states.setdefault(name, {})[quantity] = tensor
        if states and states.keys() != self._named.keys():
            raise ValueError(f"optimiser state of other parameters: {sorted(states.keys() ^ self._named.keys())}")
        for name, parameter in self._named.items():
            # Copies, because torch's own allocation is aligned and a view of a file need not be.
            state = {key: tensor.to(parameter.device, copy=True) for key, tensor in states.get(name, {}).items()}
            self._owner[parameter].state[parameter] = state


def as_they_are(_name: str, _moves: Moves) -> float:
    """The factor of learning rates that were found for these parameters."""
    return 1.0


def build_optimizer(
    settings: Optimizer, named_parameters: Iterable[tuple[str, Parameter]], factor: Factor = as_they_are
) -> Updater:
    """Hand each parameter to its optimiser by the rules of the settings.

    ``factor`` makes learning rates that were found for another width right for these parameters; what a step takes of a
    weight for decay stays. Raises FromScratchError for a rule that gives Muon something else than a matrix, and for a
    learning rate that names no parameter, or the same one as another.
    """
    named = list(named_parameters)
    if isinstance(settings, AdamW):
        return Updater([_build_adamw(settings, named, factor)], named, settings.peak_learning_rate)
    matrices = [(name, each) for name, each in named if settings.matrices.picks(name, each.ndim)]
    rest = [(name, each) for name, each in named if not settings.matrices.picks(name, each.ndim)]
    optimizers = [_build_muon(settings, matrices, factor)] if matrices else []
    if rest:
        optimizers.append(_build_adamw(settings.rest, rest, factor))
    return Updater(optimizers, named, settings.peak_learning_rate)


def _build_muon(settings: Muon, named: Named, factor: Factor) -> torch.optim.Optimizer:
    groups: Groups = {}
    for name, parameter in named:
        if parameter.ndim != 2:
            raise FromScratchError(
                f"`matrices` gives Muon the parameter {name!r} of {parameter.ndim} dimensions",
                "set `matrices.dimensions` = 2, or leave the name out by `matrices.except_names`",
            )
        rates = _rates(settings.peak_learning_rate, settings.weight_decay, factor(name, settings.moves))
        groups.setdefault(rates, []).append(parameter)
    return MuonOptimizer(_as_torch_has_them(groups), settings)


def _build_adamw(settings: AdamW, named: Named, factor: Factor) -> torch.optim.Optimizer:
    groups: Groups = {}
    used: set[str] = set()
    for name, parameter in named:
        patterns = [pattern for pattern in settings.learning_rates if fnmatchcase(name, pattern)]
        if len(patterns) > 1:
            raise FromScratchError(
                f"`learning_rates` names the parameter {name!r} by {patterns[0]!r} and by {patterns[1]!r}",
                "make the patterns exclude each other",
            )
        used.update(patterns)
        rate = settings.learning_rates[patterns[0]] if patterns else settings.peak_learning_rate
        decays = not any(each.picks(name, parameter.ndim) for each in settings.undecayed)
        rates = _rates(rate, settings.weight_decay if decays else 0.0, factor(name, settings.moves))
        groups.setdefault(rates, []).append(parameter)
    for pattern in settings.learning_rates.keys() - used:
        raise FromScratchError(
            f"`learning_rates` names {pattern!r}, which is no parameter that AdamW trains",
            "it trains " + ", ".join(name for name, _ in named),
        )
    return torch.optim.AdamW(
        _as_torch_has_them(groups),
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )


def _rates(peak_learning_rate: float, weight_decay: float, factor: float) -> tuple[float, float]:
    """Both are multiplied in a step, so decay is divided by what the learning rate is multiplied with."""
    return peak_learning_rate * factor, weight_decay / factor


def _as_torch_has_them(groups: Groups) -> list[dict[str, Any]]:
    return [
        {"params": parameters, "peak_learning_rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
