"""The chunked loss is the plain loss, with less memory."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fromscratch.model.loss import IGNORED, cross_entropy
from fromscratch.model.tiling import LOSS_POSITIONS_CPU


def inputs(positions: int, vocabulary: int = 500, width: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(positions, width, generator=generator, requires_grad=True)
    head_VD = torch.randn(vocabulary, width, generator=generator, requires_grad=True)
    targets_N = torch.randint(vocabulary, (positions,), generator=generator)
    return hidden_ND, head_VD, targets_N


def plain(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, z_loss: float = 0.0) -> Tensor:
    logits_NV = functional.linear(hidden_ND, head_VD).float()
    normaliser_N = logits_NV[targets_N != IGNORED].logsumexp(-1)
    return functional.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED) + z_loss * normaliser_N.square().mean()


@pytest.mark.parametrize("positions", [1, LOSS_POSITIONS_CPU, 2 * LOSS_POSITIONS_CPU + 17])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_loss_and_gradients_in_chunks_equal_the_plain_ones(positions: int, z_loss: float) -> None:
    hidden_ND, head_VD, targets_N = inputs(positions)
    targets_N[1::3] = IGNORED
    ours, theirs = (loss(hidden_ND, head_VD, targets_N, z_loss) for loss in (cross_entropy, plain))
    torch.testing.assert_close(ours, theirs, atol=0, rtol=1e-6)
    scale = 0.37  # as when micro-batches are weighed
    gradients = torch.autograd.grad(scale * ours, (hidden_ND, head_VD))
    expected = torch.autograd.grad(scale * theirs, (hidden_ND, head_VD))
    torch.testing.assert_close(gradients, expected, atol=1e-5, rtol=1e-5)


def test_gradients_under_autocast_are_as_good_as_the_plain_ones() -> None:
    hidden_ND, head_VD, targets_N = inputs(600)
    exact = torch.autograd.grad(plain(hidden_ND, head_VD, targets_N), (hidden_ND, head_VD))
    with torch.autocast("cpu", torch.bfloat16):
        losses = [loss(hidden_ND, head_VD, targets_N) for loss in (cross_entropy, plain)]
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1], atol=0, rtol=1e-4)
    ours, theirs = (torch.autograd.grad(loss, (hidden_ND, head_VD)) for loss in losses)
    for our, their, right in zip(ours, theirs, exact, strict=True):
        assert our.dtype == torch.float32
        assert (our - right).norm() < 1.1 * (their - right).norm()
        assert (our - right).norm() < 0.01 * right.norm()


def test_logits_far_apart_neither_overflow_nor_vanish() -> None:
    hidden_ND, head_VD, targets_N = inputs(8)
    far_ND = (200 * hidden_ND).detach().requires_grad_()
    ours, theirs = cross_entropy(far_ND, head_VD, targets_N), plain(far_ND, head_VD, targets_N)
    assert theirs > 1000
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, far_ND), torch.autograd.grad(theirs, far_ND))


def test_without_any_target_the_loss_and_its_gradients_are_zero() -> None:
    hidden_ND, head_VD, targets_N = inputs(9)
    loss = cross_entropy(hidden_ND, head_VD, torch.full_like(targets_N, IGNORED))
    loss.backward()
    assert loss == 0
    assert hidden_ND.grad is not None and not hidden_ND.grad.any()
    assert head_VD.grad is not None and not head_VD.grad.any()


def test_only_the_gradients_that_are_asked_for_are_made() -> None:
    hidden_ND, head_VD, targets_N = inputs(300)
    expected = plain(hidden_ND, head_VD, targets_N)
    for_hidden = cross_entropy(hidden_ND, head_VD.detach(), targets_N)
    torch.testing.assert_close(for_hidden, expected)
    assert for_hidden.grad_fn is not None and for_hidden.grad_fn.saved_tensors[1] is None
    (gradient,) = torch.autograd.grad(cross_entropy(hidden_ND.detach(), head_VD, targets_N), (head_VD,))
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, head_VD)[0], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(hidden_ND, head_VD, targets_N), expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_logits_are_never_held_whole_and_come_from_products_in_the_type_of_autocast(
    precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden_ND, head_VD, targets_N = inputs(8 * LOSS_POSITIONS_CPU)
    chunks: list[tuple[int, torch.dtype]] = []
    amax = Tensor.amax

    def watched(logit_CV: Tensor, dim: int, *, keepdim: bool) -> Tensor:
        chunks.append((len(logit_CV), logit_CV.dtype))
        return amax(logit_CV, dim, keepdim=keepdim)

    monkeypatch.setattr(Tensor, "amax", watched)
    kept: list[int] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        cross_entropy(hidden_ND, head_VD, targets_N)
    assert chunks == [(LOSS_POSITIONS_CPU, precision), (LOSS_POSITIONS_CPU, torch.float32)] * 8  # logits, shares
    assert max(kept) == hidden_ND.numel()
