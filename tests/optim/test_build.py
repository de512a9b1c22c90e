"""Each parameter goes to its optimiser, and the optimisers do what their papers say."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.optim import muon
from fromscratch.optim.build import Updater, build_optimizer
from fromscratch.optim.muon import MuonOptimizer, orthogonalise
from fromscratch.optim.settings import AdamW, Muon, Optimizer, Selection

torch.set_num_threads(1)


def tiny_module() -> nn.Module:
    """An embedding, a tall and a wide hidden matrix, a norm and a head, named as in the decoder."""
    torch.manual_seed(0)
    module = nn.Module()
    module.embedding = nn.Embedding(11, 8)
    module.up = nn.Linear(8, 24, bias=False)
    module.down = nn.Linear(24, 8, bias=False)
    module.norm = nn.RMSNorm(8)
    module.head = nn.Linear(8, 11, bias=False)
    return module


def fill_gradients(module: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def train(module: nn.Module, updater: Updater, steps: range) -> None:
    for step in steps:
        fill_gradients(module, step)
        updater.step(1 / (step + 1))


def orthogonalised(update: Tensor, steps: int) -> Tensor:
    """The quintic Newton–Schulz iteration of the reference (github.com/KellerJordan/Muon), in fp32."""
    x = update.T if update.shape[0] > update.shape[1] else update
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if update.shape[0] > update.shape[1] else x


def test_adamw_agrees_with_torch_on_the_same_groups() -> None:
    ours, theirs = tiny_module(), tiny_module()
    updater = build_optimizer(AdamW(peak_learning_rate=0.01, weight_decay=0.3), ours.named_parameters())
    reference = torch.optim.AdamW(
        [
            {"params": [theirs.up.weight, theirs.down.weight, theirs.head.weight], "weight_decay": 0.3},
            {"params": [theirs.embedding.weight, theirs.norm.weight], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        foreach=False,
        fused=False,
    )
    train(ours, updater, range(5))
    for step in range(5):
        fill_gradients(theirs, step)
        for group in reference.param_groups:
            group["lr"] = 0.01 / (step + 1)
        reference.step()
    for (name, our), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("update_scale", ["spectral", "adamw"])
def test_muon_agrees_with_torchs_for_the_same_iteration(update_scale: str) -> None:
    ours, theirs = tiny_module(), tiny_module()
    settings = Muon(iteration="jordan", iterations=5, momentum=0.9, weight_decay=0.1, update_scale=update_scale)
    updater = build_optimizer(settings, ours.named_parameters())
    reference = torch.optim.Muon(
        [theirs.up.weight, theirs.down.weight],
        momentum=0.9,
        weight_decay=0.1,
        adjust_lr_fn={"spectral": "original", "adamw": "match_rms_adamw"}[update_scale],
    )
    train(ours, updater, range(5))
    for step in range(5):
        fill_gradients(theirs, step)
        reference.param_groups[0]["lr"] = 0.02 / (step + 1)
        reference.step()
    for name in ("up.weight", "down.weight"):
        moved = (theirs.get_parameter(name) - tiny_module().get_parameter(name)).norm()
        assert (ours.get_parameter(name) - theirs.get_parameter(name)).norm() < 0.005 * moved, name


@pytest.mark.parametrize("update_scale", ["spectral", "adamw"])
def test_muon_agrees_with_the_plain_formula_of_its_reference(update_scale: str) -> None:
    module = tiny_module()
    settings = Muon(iteration="jordan", iterations=5, momentum=0.9, weight_decay=0.1, update_scale=update_scale)
    updater = build_optimizer(settings, module.named_parameters())
    expected = {name: module.get_parameter(name).detach().clone() for name in ("up.weight", "down.weight")}
    momentum = {name: torch.zeros_like(each) for name, each in expected.items()}
    for step in range(3):
        fill_gradients(module, step)
        learning_rate = 0.02 / (step + 1)
        for name, weight in expected.items():
            gradient = module.get_parameter(name).grad
            assert gradient is not None
            momentum[name] = 0.9 * momentum[name] + 0.1 * gradient
            update = orthogonalised(0.1 * gradient + 0.9 * momentum[name], steps=5)
            rows, columns = weight.shape
            scale = max(1, rows / columns) ** 0.5 if update_scale == "spectral" else 0.2 * max(rows, columns) ** 0.5
            weight.mul_(1 - learning_rate * 0.1).sub_(learning_rate * scale * update)
        updater.step(1 / (step + 1))
    start = tiny_module()
    for name, weight in expected.items():
        difference = (module.get_parameter(name) - weight).norm() / (start.get_parameter(name) - weight).norm()
        assert difference < 0.03, name  # the iteration runs in bf16, which has 8 bits


@pytest.mark.parametrize(
    ("iteration", "iterations", "lowest", "highest"),
    [("polar_express", 4, 0.3, 1.6), ("polar_express", 7, 0.97, 1.03), ("jordan", 5, 0.6, 1.25)],
)
def test_singular_values_go_towards_one_and_singular_vectors_stay(
    iteration: str, iterations: int, lowest: float, highest: float
) -> None:
    torch.manual_seed(0)
    left_MRS = torch.linalg.qr(torch.randn(3, 96, 64)).Q
    right_MSS = torch.linalg.qr(torch.randn(3, 64, 64)).Q
    values_S = torch.logspace(0, -2, 64)  # over their Frobenius norm, from 0.45 down to 0.0045
    settings = Muon(iteration=iteration, iterations=iterations)
    coefficients = MuonOptimizer([{"params": [nn.Parameter(torch.empty(2, 2))]}], settings).coefficients
    result_MRS = orthogonalise(left_MRS @ torch.diag(values_S) @ right_MSS.mT, coefficients).float()
    found_MSS = left_MRS.mT @ result_MRS @ right_MSS
    diagonal_MS = found_MSS.diagonal(dim1=1, dim2=2)
    assert diagonal_MS.min() > lowest
    assert diagonal_MS.max() < highest
    assert (found_MSS - torch.diag_embed(diagonal_MS)).norm() < 0.1 * found_MSS.norm()


def test_muon_moves_tall_and_wide_matrices_by_the_learning_rate_in_every_direction() -> None:
    module = tiny_module()
    before = copy.deepcopy(module)
    settings = Muon(peak_learning_rate=0.5, weight_decay=0.0, iterations=7)
    train(module, build_optimizer(settings, module.named_parameters()), range(1))
    for name, scale in (("up", math.sqrt(24 / 8)), ("down", 1.0)):
        moved = before.get_parameter(f"{name}.weight") - module.get_parameter(f"{name}.weight")
        torch.testing.assert_close(
            torch.linalg.svdvals(moved.detach()), torch.full((8,), 0.5 * scale), rtol=0.03, atol=0
        )


def test_how_many_matrices_are_stacked_changes_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def many() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleList(nn.Linear(8, 24, bias=False) for _ in range(5))

    results = []
    for numbers in (1, 2 * 8 * 24, 1 << 20):
        monkeypatch.setitem(muon.NUMBERS_PER_STACK, "cpu", numbers)
        module = many()
        train(module, build_optimizer(Muon(), module.named_parameters()), range(3))
        results.append(torch.stack([each.detach() for each in module.parameters()]))
    start = torch.stack([each.detach() for each in many().parameters()])
    for other in results[1:]:
        assert (other - results[0]).norm() < 0.01 * (results[0] - start).norm()


def test_muon_leaves_embedding_head_and_norms_to_adamw() -> None:
    one, two = tiny_module(), tiny_module()
    rest = AdamW(peak_learning_rate=0.01)
    train(one, build_optimizer(Muon(rest=rest), one.named_parameters()), range(3))
    train(two, build_optimizer(rest, two.named_parameters()), range(3))
    same = {name for name, each in one.named_parameters() if torch.equal(each, two.get_parameter(name))}
    assert same == {"embedding.weight", "norm.weight", "head.weight"}


def test_which_parameters_muon_takes_is_a_rule_over_names_and_shapes() -> None:
    module = tiny_module()
    settings = Muon(matrices=Selection(names=("*.weight",), except_names=("embedding*", "down*"), dimensions=2))
    updater = build_optimizer(settings, module.named_parameters())
    train(module, updater, range(1))
    by_muon = {name.rpartition(".")[0] for name in updater.state_tensors() if name.endswith("momentum_buffer")}
    assert by_muon == {"up.weight", "head.weight"}


def test_a_learning_rate_of_its_own_moves_only_the_parameters_that_it_names() -> None:
    one, two = tiny_module(), tiny_module()
    train(one, build_optimizer(AdamW(learning_rates={"emb*": 0.5}), one.named_parameters()), range(1))
    train(two, build_optimizer(AdamW(), two.named_parameters()), range(1))
    start = tiny_module()
    moved = (one.embedding.weight - start.embedding.weight).abs().mean()
    assert moved.item() == pytest.approx(0.5, rel=1e-3)  # Adam's first step is the learning rate itself
    assert torch.equal(one.head.weight, two.head.weight)


def test_only_matrices_decay_by_default() -> None:
    module = tiny_module()
    before = copy.deepcopy(module)
    updater = build_optimizer(AdamW(peak_learning_rate=0.1, weight_decay=1.0), module.named_parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    updater.step(1.0)
    for name, parameter in module.named_parameters():
        expected = 1.0 if name in ("embedding.weight", "norm.weight") else 0.9
        torch.testing.assert_close(parameter, before.get_parameter(name) * expected)


@pytest.mark.parametrize("settings", [AdamW(), Muon()], ids=lambda each: each.kind)
def test_saved_state_goes_on_bit_for_bit(settings: Optimizer) -> None:
    straight = tiny_module()
    train(straight, build_optimizer(settings, straight.named_parameters()), range(6))
    first = tiny_module()
    updater = build_optimizer(settings, first.named_parameters())
    train(first, updater, range(3))
    saved = {name: tensor.clone() for name, tensor in updater.state_tensors().items()}
    second = copy.deepcopy(first)
    resumed = build_optimizer(settings, second.named_parameters())
    resumed.load_state_tensors(saved)
    train(second, resumed, range(3, 6))
    assert all(torch.equal(one, two) for one, two in zip(straight.parameters(), second.parameters(), strict=True))
    forgotten = build_optimizer(settings, first.named_parameters())  # the state matters, or the test says nothing
    train(first, forgotten, range(3, 6))
    assert not any(torch.equal(one, two) for one, two in zip(straight.parameters(), first.parameters(), strict=True))


def test_loaded_state_shares_no_memory_with_what_it_came_from() -> None:
    module = tiny_module()
    updater = build_optimizer(Muon(), module.named_parameters())
    train(module, updater, range(1))
    saved = {name: tensor.clone() for name, tensor in updater.state_tensors().items()}
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    updater.load_state_tensors(saved)
    train(module, updater, range(1, 3))
    assert all(torch.equal(saved[name], kept[name]) for name in saved)


def test_state_of_other_parameters_is_refused() -> None:
    module = tiny_module()
    updater = build_optimizer(AdamW(), module.named_parameters())
    train(module, updater, range(1))
    state = {name: each for name, each in updater.state_tensors().items() if not name.startswith("up.")}
    with pytest.raises(ValueError, match=r"up\.weight"):
        updater.load_state_tensors(state)


def test_gradients_are_let_go_after_a_step() -> None:
    module = tiny_module()
    train(module, build_optimizer(Muon(), module.named_parameters()), range(1))
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AdamW(learning_rates={"embeding.weight": 0.1}), "'embeding.weight', which is no parameter"),
        (AdamW(learning_rates={"up.*": 0.1, "*.weight": 0.2}), "names the parameter 'up.weight' by 'up.*' and by"),
        (Muon(matrices=Selection(names=("norm*",))), "gives Muon the parameter 'norm.weight' of 1 dimensions"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(settings: Optimizer, message: str) -> None:
    with pytest.raises(FromScratchError) as refused:
        build_optimizer(settings, tiny_module().named_parameters())
    assert message in refused.value.message


def test_settings_name_the_kind_that_is_not_known() -> None:
    from_recipe = {"kind": "muon", "rest": {"learning_rates": {"head.weight": 0.002}}}
    assert validate_settings(Muon, from_recipe, "recipe.toml").rest.learning_rates == {"head.weight": 0.002}
    with pytest.raises(FromScratchError, match="`itterations` is not a setting"):
        validate_settings(Muon, {"itterations": 5}, "recipe.toml")


def test_a_factor_scales_the_learning_rate_of_its_parameter_and_leaves_its_decay() -> None:
    module = tiny_module()
    before = copy.deepcopy(module)
    asked: dict[str, str] = {}

    def factor(name: str, moves: str) -> float:
        asked[name] = moves
        return 0.25 if name == "up.weight" else 1.0

    settings = AdamW(peak_learning_rate=0.1, weight_decay=1.0)
    updater = build_optimizer(settings, module.named_parameters(), factor)
    train(module, updater, range(1))
    for name, rate in (("up.weight", 0.025), ("down.weight", 0.1)):  # Adam's first step is the learning rate itself
        moved = module.get_parameter(name) - 0.9 * before.get_parameter(name)
        torch.testing.assert_close(moved.abs(), torch.full_like(moved, rate), rtol=1e-3, atol=1e-5)
    assert set(asked.values()) == {"entries"}
    for update_scale, moves in (("spectral", "singular_values"), ("adamw", "root_mean_square")):
        build_optimizer(Muon(update_scale=update_scale), tiny_module().named_parameters(), factor)
        assert (asked["up.weight"], asked["head.weight"]) == (moves, "entries")


def test_muon_moves_a_matrix_by_its_factor_and_keeps_its_decay() -> None:
    moved = {}
    for share in (1.0, 0.5):
        module = tiny_module()
        settings = Muon(weight_decay=0.2, peak_learning_rate=0.5)
        updater = build_optimizer(settings, module.named_parameters(), lambda *_, share=share: share)
        before = copy.deepcopy(module)
        train(module, updater, range(1))
        moved[share] = module.up.weight - 0.9 * before.up.weight
    torch.testing.assert_close(moved[0.5], moved[1.0] / 2, rtol=1e-4, atol=1e-6)
