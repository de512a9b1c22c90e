"""The settings refuse what cannot be measured, and need nothing heavy to be read."""

import subprocess
import sys

import pytest

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import validate_settings
from fromscratch.evaluate.settings import EvaluateSettings


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"scoring": {"overlap": 1.0}}, "`scoring.overlap` = 1.0 is refused"),
        ({"scoring": {"window_tokens": 1}}, "`scoring.window_tokens` = 1 is refused"),
        ({"tokens_per_group": 0}, "`tokens_per_group` = 0 is refused"),
        ({"questions_per_language": 41}, "`questions_per_language` = 41 is refused"),
        ({"sample_prompts": [" "]}, "`sample_prompts.0` = "),
        ({"token_per_group": 5}, "`token_per_group` is not a setting"),
    ],
)
def test_what_cannot_be_measured_is_refused(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(FromScratchError, match=complaint):
        validate_settings(EvaluateSettings, given, "recipe.toml")


def test_prompts_are_read_from_a_recipe() -> None:
    assert validate_settings(EvaluateSettings, {"sample_prompts": ["你好"]}, "").sample_prompts == ("你好",)


def test_reading_settings_loads_no_heavy_library() -> None:
    heavy = "[name for name in ('torch', 'numpy', 'tokenizers') if name in sys.modules]"
    code = f"import sys, fromscratch.evaluate.settings; print({heavy})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
