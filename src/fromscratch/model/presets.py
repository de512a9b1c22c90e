"""The known families as points on the four axes, with the sizes that their papers and configurations publish."""

from dataclasses import dataclass
from typing import Any

from fromscratch.core.errors import FromScratchError
from fromscratch.core.settings import did_you_mean
from fromscratch.model.initialisation import DepthScaled
from fromscratch.model.settings import (
    DecoderSettings,
    LearnedPositions,
    Llama3Scaling,
    RelativePositions,
    RotaryPositions,
)

__all__ = ["PRESETS", "Preset", "preset"]


@dataclass(frozen=True)
class Preset:
    """A published model's shape."""

    settings: DecoderSettings
    vocabulary: int
    source: str
    published_parameters: int
    """As counted from public weights when ``exact``, else the figure of the paper."""
    exact: bool
    note: str = ""
    """What the model does that the four axes do not say."""


def preset(name: str) -> Preset:
    """The preset of this name, in any case. Raises FromScratchError with the nearest name."""
    found = {each.lower(): value for each, value in PRESETS.items()}.get(name.lower())
    if found is None:
        raise FromScratchError(f"{name!r} is neither a preset nor a model folder", did_you_mean(name, list(PRESETS)))
    return found


def _gpt(layers: int, width: int, heads: int, context: int, **more: Any) -> DecoderSettings:
    return DecoderSettings(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        biases="all",
        activation="gelu_tanh",
        ffn_width=4 * width,
        norm="layer",
        positions=LearnedPositions(),
        context_tokens=context,
        head="tied",
        init=DepthScaled(position_embedding_std=0.01),
        **more,
    )


def _gopher(layers: int, width: int, heads: int, key_width: int) -> DecoderSettings:
    return DecoderSettings(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=key_width,
        activation="gelu",
        ffn_width=4 * width,
        positions=RelativePositions(),
        context_tokens=2048,
        head="tied",
    )


def _llama(
    layers: int, width: int, heads: int, kv_heads: int, ffn_width: int, context: int, base: float = 1e4, **more: Any
) -> DecoderSettings:
    return DecoderSettings(
        **{
            "layers": layers,
            "width": width,
            "heads": heads,
            "kv_heads": kv_heads,
            "ffn_width": ffn_width,
            "context_tokens": context,
            "positions": RotaryPositions(base=base),
            **more,
        }
    )


def _llama31(factor: float = 8) -> RotaryPositions:
    return RotaryPositions(base=5e5, scaling=Llama3Scaling(factor=factor, original_context_tokens=8192))


GPT2 = "Radford et al. 2019, and the public weights"
GPT3 = "Brown et al. 2020, arXiv 2005.14165, table 2.1"
GOPHER = "Rae et al. 2021, arXiv 2112.11446, table 1"
CHINCHILLA = "Hoffmann et al. 2022, arXiv 2203.15556, table 4"
LLAMA1 = "Touvron et al. 2023, arXiv 2302.13971, table 2, and the public weights"
LLAMA2 = "Touvron et al. 2023, arXiv 2307.09288, and the public weights"
LLAMA3 = "Llama team 2024, arXiv 2407.21783, and the public weights"
YI = "Young et al. 2024, arXiv 2403.04652, and the public configurations"
LONG = "Further pretraining with a raised base; later uploads have 1e7."
DISTANCES = "The count has the map of the relative positions in each layer."

PRESETS = {
    "gpt2": Preset(_gpt(12, 768, 12, 1024), 50257, GPT2, 124_439_808, True),
    "gpt2-medium": Preset(_gpt(24, 1024, 16, 1024), 50257, GPT2, 354_823_168, True),
    "gpt2-large": Preset(_gpt(36, 1280, 20, 1024), 50257, GPT2, 774_030_080, True),
    "gpt2-xl": Preset(_gpt(48, 1600, 25, 1024), 50257, GPT2, 1_557_611_200, True),
    "gpt3-175b": Preset(
        _gpt(96, 12288, 96, 2048), 50257, GPT3, 175_000_000_000, False, "Every other layer attends in a sparse band."
    ),
    "gopher-280b": Preset(
        _gopher(80, 16384, 128, 128),
        32000,
        GOPHER,
        280_000_000_000,
        False,
        DISTANCES,
    ),
    "chinchilla-70b": Preset(
        _gopher(80, 8192, 64, 128),
        32000,
        CHINCHILLA,
        70_000_000_000,
        False,
        DISTANCES,
    ),
    "llama-7b": Preset(_llama(32, 4096, 32, 32, 11008, 2048, norm_epsilon=1e-6), 32000, LLAMA1, 6_738_415_616, True),
    "llama-13b": Preset(_llama(40, 5120, 40, 40, 13824, 2048, norm_epsilon=1e-6), 32000, LLAMA1, 13_015_864_320, True),
    "llama-30b": Preset(_llama(60, 6656, 52, 52, 17920, 2048, norm_epsilon=1e-6), 32000, LLAMA1, 32_528_943_616, True),
    "llama-65b": Preset(_llama(80, 8192, 64, 64, 22016, 2048, norm_epsilon=1e-5), 32000, LLAMA1, 65_285_660_672, True),
    "llama2-7b": Preset(_llama(32, 4096, 32, 32, 11008, 4096), 32000, LLAMA2, 6_738_415_616, True),
    "llama2-13b": Preset(_llama(40, 5120, 40, 40, 13824, 4096), 32000, LLAMA2, 13_015_864_320, True),
    "llama2-34b": Preset(
        _llama(48, 8192, 64, 8, 22016, 4096),
        32000,
        LLAMA2,
        34_000_000_000,
        False,
        "Unreleased; the shape is Code Llama's.",
    ),
    "llama2-70b": Preset(_llama(80, 8192, 64, 8, 28672, 4096), 32000, LLAMA2, 68_976_648_192, True),
    "llama3-8b": Preset(_llama(32, 4096, 32, 8, 14336, 8192, 5e5), 128256, LLAMA3, 8_030_261_248, True),
    "llama3-70b": Preset(_llama(80, 8192, 64, 8, 28672, 8192, 5e5), 128256, LLAMA3, 70_553_706_496, True),
    "llama3.1-8b": Preset(
        _llama(32, 4096, 32, 8, 14336, 131072, positions=_llama31()), 128256, LLAMA3, 8_030_261_248, True
    ),
    "llama3.1-70b": Preset(
        _llama(80, 8192, 64, 8, 28672, 131072, positions=_llama31()), 128256, LLAMA3, 70_553_706_496, True
    ),
    "llama3.1-405b": Preset(
        _llama(126, 16384, 128, 8, 53248, 131072, positions=_llama31()), 128256, LLAMA3, 405_853_388_800, True
    ),
    "llama3.2-1b": Preset(
        _llama(16, 2048, 32, 8, 8192, 131072, positions=_llama31(32), head="tied"), 128256, LLAMA3, 1_235_814_400, True
    ),
    "llama3.2-3b": Preset(
        _llama(28, 3072, 24, 8, 8192, 131072, positions=_llama31(32), head="tied"), 128256, LLAMA3, 3_212_749_824, True
    ),
    "yi-6b": Preset(_llama(32, 4096, 32, 4, 11008, 4096, 5e6), 64000, YI, 6_061_035_520, True),
    "yi-9b": Preset(_llama(48, 4096, 32, 4, 11008, 4096, 1e4, norm_epsilon=1e-6), 64000, YI, 8_829_407_232, True),
    "yi-34b": Preset(_llama(60, 7168, 56, 8, 20480, 4096, 5e6), 64000, YI, 34_388_917_248, True),
    "yi-6b-200k": Preset(_llama(32, 4096, 32, 4, 11008, 200_000, 5e6), 64000, YI, 6_061_035_520, True, LONG),
    "yi-9b-200k": Preset(_llama(48, 4096, 32, 4, 11008, 262_144, 1e7), 64000, YI, 8_829_407_232, True, LONG),
    "yi-34b-200k": Preset(_llama(60, 7168, 56, 8, 20480, 200_000, 5e6), 64000, YI, 34_388_917_248, True, LONG),
    "yi-1.5-6b": Preset(_llama(32, 4096, 32, 4, 11008, 4096, 5e6, norm_epsilon=1e-6), 64000, YI, 6_061_035_520, True),
    "yi-1.5-9b": Preset(_llama(48, 4096, 32, 4, 11008, 4096, 5e6, norm_epsilon=1e-6), 64000, YI, 8_829_407_232, True),
    "yi-1.5-34b": Preset(_llama(60, 7168, 56, 8, 20480, 4096, 5e6, norm_epsilon=1e-6), 64000, YI, 34_388_917_248, True),
    "mistral-7b": Preset(
        _llama(32, 4096, 32, 8, 14336, 32768, window_tokens=4096),
        32000,
        "Jiang et al. 2023, arXiv 2310.06825, and the public weights",
        7_241_732_096,
        True,
    ),
    "qwen2-0.5b": Preset(
        _llama(24, 896, 14, 2, 4864, 131072, 1e6, norm_epsilon=1e-6, biases="query_key_value", head="tied"),
        151936,
        "Yang et al. 2024, arXiv 2407.10671, and the public weights",
        494_032_768,
        True,
    ),
    "qwen2-1.5b": Preset(
        _llama(28, 1536, 12, 2, 8960, 131072, 1e6, norm_epsilon=1e-6, biases="query_key_value", head="tied"),
        151936,
        "Yang et al. 2024, arXiv 2407.10671, and the public weights",
        1_543_714_304,
        True,
    ),
    "smollm2-135m": Preset(
        _llama(30, 576, 9, 3, 1536, 8192, 1e5, head="tied"),
        49152,
        "Ben Allal et al. 2025, arXiv 2502.02737, and the public weights",
        134_515_008,
        True,
    ),
}
