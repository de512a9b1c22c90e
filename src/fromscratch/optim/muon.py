"""Muon: momentum of a matrix made orthogonal before it is subtracted.

M matrices of one shape · R rows · C columns · S the smaller of the two · L the larger
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.nn import Parameter

from fromscratch.optim.settings import Muon

__all__ = ["MuonOptimizer", "orthogonalise"]

Coefficients = tuple[tuple[float, float, float], ...]

# Amsel et al. 2025 (arXiv:2505.16932), algorithm 1: each polynomial is the best for what the one before leaves.
_PAPER: Coefficients = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_SAFETY = 1.01  # for singular values that rounding lifts above 1, as in the paper
_POLAR_EXPRESS: Coefficients = tuple((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _PAPER)
_JORDAN = (3.4445, -4.7750, 2.0315)

# Matrices that are iterated on together: small ones gain up to 2.5 times on a CPU, large ones would leave its cache.
NUMBERS_PER_STACK = {"cpu": 1 << 20, "cuda": 1 << 26}


class MuonOptimizer(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with decoupled weight decay over two-dimensional parameters.

    Its state is one ``momentum_buffer`` per parameter. Agrees with ``torch.optim.Muon`` for the same coefficients.
    """

    def __init__(self, parameters: Iterable[dict[str, Any]], settings: Muon) -> None:
        super().__init__(parameters, {"lr": settings.peak_learning_rate, "weight_decay": settings.weight_decay})
        self._momentum = settings.momentum
        self._update_scale = settings.update_scale
        polynomials = _POLAR_EXPRESS if settings.iteration == "polar_express" else (_JORDAN,) * len(_POLAR_EXPRESS)
        self.coefficients = polynomials[: settings.iterations]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "a step of Muon evaluates nothing"
        for group in self.param_groups:
            for parameters in _stacks(group["params"]):
                self._step_equal_shapes(parameters, group["lr"], group["weight_decay"])

    def _step_equal_shapes(self, parameters: list[Parameter], learning_rate: float, weight_decay: float) -> None:
        gradients = [_held(each.grad) for each in parameters if each.grad is not None]
        for each in parameters:
            if "momentum_buffer" not in self.state[each]:
                self.state[each]["momentum_buffer"] = torch.zeros_like(each)
        buffers = [_held(self.state[each]["momentum_buffer"]) for each in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - self._momentum)
        ahead = torch._foreach_lerp(gradients, buffers, self._momentum)  # Nesterov's look one step ahead
        whole = [_whole(part, parameter) for part, parameter in zip(ahead, parameters, strict=True)]
        update_MRC = orthogonalise(torch.stack(whole), self.coefficients).to(parameters[0].dtype)
        rows, columns = parameters[0].shape
        spectral = math.sqrt(max(1.0, rows / columns))
        scale = spectral if self._update_scale == "spectral" else 0.2 * math.sqrt(max(rows, columns))
        updates = [_part(update_RC, parameter) for update_RC, parameter in zip(update_MRC, parameters, strict=True)]
        weights = [_held(each) for each in parameters]
        torch._foreach_mul_(weights, 1 - learning_rate * weight_decay)
        torch._foreach_add_(weights, updates, alpha=-learning_rate * scale)


def _held(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: all of it, unless it is shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(part: Tensor, like: Tensor) -> Tensor:
    """The matrix of which each process holds a part, as it does of ``like``: its singular values are of all of it."""
    if not isinstance(like, DTensor):
        return part
    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(part, mesh, placements, shape=like.shape, stride=like.stride()).full_tensor()


def _part(whole: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return whole
    everywhere = DTensor.from_local(whole, like.device_mesh, [Replicate()] * like.device_mesh.ndim, run_check=False)
    return everywhere.redistribute(placements=like.placements).to_local()


def orthogonalise(matrix_MRC: Tensor, coefficients: Coefficients) -> Tensor:
    """The nearest semi-orthogonal matrices, nearly: singular values go towards 1, singular vectors stay.

    Each (a, b, c) takes X to aX + b(XXᵀ)X + c(XXᵀ)²X. Runs and answers in bf16.
    """
    tall = matrix_MRC.shape[-2] > matrix_MRC.shape[-1]
    x_MSL = (matrix_MRC.mT if tall else matrix_MRC).bfloat16()
    # By the Frobenius norm, which is cheap and never less than the largest singular value.
    x_MSL = x_MSL / x_MSL.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for a, b, c in coefficients:
        gram_MSS = torch.bmm(x_MSL, x_MSL.mT)
        polynomial_MSS = torch.baddbmm(gram_MSS, gram_MSS, gram_MSS, beta=b, alpha=c)
        x_MSL = torch.baddbmm(x_MSL, polynomial_MSS, x_MSL, beta=a)
    return x_MSL.mT if tall else x_MSL


def _stacks(parameters: list[Parameter]) -> Iterator[list[Parameter]]:
    """Parameters with a gradient, by shape, as many at once as pays on their device."""
    by_shape: dict[torch.Size, list[Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_shape.setdefault(parameter.shape, []).append(parameter)
    for members in by_shape.values():
        at_once = max(1, NUMBERS_PER_STACK[members[0].device.type] // members[0].numel())
        rest = iter(members)
        while stack := list(islice(rest, at_once)):
            yield stack
