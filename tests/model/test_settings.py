"""Settings of the decoder: what is refused, in which words, and what follows from them."""

import subprocess
import sys
from typing import Any

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.model.arithmetic import flops_per_token, key_value_cache_bytes, parameters
from fromscratch.model.settings import DecoderSettings, RotaryPositions, Sampling

YI_6B: dict[str, Any] = {
    "layers": 32,
    "width": 4096,
    "heads": 32,
    "kv_heads": 4,
    "ffn_width": 11008,
    "context_tokens": 4096,
    "positions": RotaryPositions(base=5e6),
}
YI_9B = {**YI_6B, "layers": 48}
YI_34B = {**YI_6B, "layers": 60, "width": 7168, "heads": 56, "kv_heads": 8, "ffn_width": 20480}


def refusal(**changes: Any) -> FromScratchError:
    with pytest.raises(FromScratchError) as caught:
        validate_settings(DecoderSettings, {**YI_6B, **changes}, "recipe.toml")
    return caught.value


def test_key_value_heads_that_do_not_divide_the_heads_are_refused_with_those_that_do() -> None:
    error = refusal(heads=8, kv_heads=5)
    assert error.message == "recipe.toml: `kv_heads` = 5 does not divide `heads` = 8"
    assert error.hint == "use 1 (multi-query), 2, 4 or 8 (multi-head)"


def test_heads_that_do_not_divide_the_width_are_refused_with_a_width_that_fits() -> None:
    error = refusal(width=250, heads=8, kv_heads=2)
    assert error.message == "recipe.toml: `heads` = 8 does not divide `width` = 250"
    assert error.hint == "use another number of heads, a width such as 248, or say `head_width`"


def test_heads_of_odd_width_are_refused_since_rotation_turns_pairs() -> None:
    error = refusal(width=24, heads=8, kv_heads=2)
    assert error.message == "recipe.toml: `width` / `heads` = 3 is odd, and rotary positions turn pairs"
    assert error.hint == "use a width such as 32, which makes heads 4 wide"


@pytest.mark.parametrize("field", ["layers", "width", "heads", "kv_heads", "ffn_width", "context_tokens"])
def test_sizes_have_to_be_above_zero(field: str) -> None:
    assert f"`{field}` = 0 is refused" in refusal(**{field: 0}).message


@pytest.mark.parametrize(("old", "now"), [("init_std", "std"), ("embedding_init_std", "embedding_std")])
def test_settings_that_went_into_the_initialisation_are_found_again(old: str, now: str) -> None:
    error = refusal(**{old: 0.05})
    assert error.message == f"recipe.toml: `{old}` is not a setting"
    assert error.hint == f'did you mean `init = {{ kind = "depth_scaled", {now} = … }}`?'


@pytest.mark.parametrize(
    ("published", "total"), [(YI_6B, 6_061_035_520), (YI_9B, 8_829_407_232), (YI_34B, 34_388_917_248)]
)
def test_parameters_of_the_yi_models_are_counted_as_published(published: dict[str, Any], total: int) -> None:
    assert parameters(DecoderSettings(**published), vocabulary=64_000).total == total


def test_a_tied_head_is_counted_once_as_parameters_and_still_as_operations() -> None:
    untied, tied = DecoderSettings(**YI_6B), DecoderSettings(**YI_6B, head="tied")
    difference = parameters(untied, 64_000).total - parameters(tied, 64_000).total
    assert difference == 64_000 * 4096
    assert flops_per_token(untied, 64_000, 4096) == flops_per_token(tied, 64_000, 4096)


def test_operations_of_one_layer_are_those_of_its_products() -> None:
    settings = DecoderSettings(layers=1, width=8, heads=2, kv_heads=1, ffn_width=16, context_tokens=4)
    T, V = 3, 10
    products = T * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 8 * V)  # multiplications of weights in one sequence
    attention = sum(2 * 8 * keys for keys in range(1, T + 1))  # scores and mixing, over the keys that each query sees
    assert flops_per_token(settings, V, T) * T == 3 * 2 * (products + attention)


def test_cache_holds_keys_and_values_of_the_shared_heads_only() -> None:
    assert key_value_cache_bytes(DecoderSettings(**YI_6B), sequences=1, tokens=4096) == 2 * 32 * 4096 * 4 * 128 * 2


def test_sampling_refuses_a_share_above_one_and_a_negative_temperature() -> None:
    for changes in ({"top_p": 1.5}, {"temperature": -0.1}, {"top_k": 0}, {"max_tokens": 0}, {"repetition_penalty": 0}):
        with pytest.raises(FromScratchError, match=f"`{next(iter(changes))}`"):
            validate_settings(Sampling, changes, "recipe.toml")


def test_settings_and_their_arithmetic_do_not_load_torch() -> None:
    code = (
        "import fromscratch.model.arithmetic, fromscratch.model.settings, sys;"
        "sys.exit(any(heavy in sys.modules for heavy in ('torch', 'numpy', 'pyarrow')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
