"""Each parameter goes to its optimiser, and the optimisers do what their papers say."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.optim.build import Updater, build_optimizer
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
def test_muon_agrees_with_the_plain_formula_of_its_reference(update_scale: str) -> None:
    module = tiny_module()
    settings = Muon(peak_learning_rate=0.02, momentum=0.9, weight_decay=0.1, update_scale=update_scale)
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
        assert difference < 0.03, name  # torch iterates in bf16, which has 8 bits


def test_muon_updates_have_singular_values_around_one() -> None:
    module = tiny_module()
    before = module.up.weight.detach().clone()
    updater = build_optimizer(Muon(peak_learning_rate=1.0, weight_decay=0.0), module.named_parameters())
    train(module, updater, range(1))
    values = torch.linalg.svdvals(before - module.up.weight.detach()) / math.sqrt(24 / 8)
    assert values.min() > 0.6
    assert values.max() < 1.3


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
    with pytest.raises(FromScratchError, match="`newton_shulz_steps` is not a setting"):
        validate_settings(Muon, {"newton_shulz_steps": 5}, "recipe.toml")
