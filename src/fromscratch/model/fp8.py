"""Matrix products of the layers in 8-bit floating point, through torchao, on GPUs that have them."""

from importlib import import_module
from importlib.util import find_spec

import torch
from torch import nn

from fromscratch.core.errors import FromScratchError
from fromscratch.model.decoder import Decoder

__all__ = ["refuse_fp8_where_it_cannot_run", "use_fp8"]

OLDEST = (8, 9)  # compute capability of Ada; Hopper is 9.0
MULTIPLE = 16  # what its products want of every side


def refuse_fp8_where_it_cannot_run(device: torch.device) -> None:
    """Raise FromScratchError where the device has no such products, or torchao is not installed."""
    if device.type != "cuda":
        raise FromScratchError(
            f'`precision` = "fp8" needs a GPU, and the model is on the {device.type}', 'set it to "bf16"'
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        raise FromScratchError(
            f'`precision` = "fp8" needs a GPU of compute capability {OLDEST[0]}.{OLDEST[1]} (Ada or later), and this '
            f"one has {capability[0]}.{capability[1]}",
            'set it to "bf16"',
        )
    if find_spec("torchao") is None:
        raise FromScratchError('`precision` = "fp8" needs torchao', 'run `pip install torchao`, or set it to "bf16"')


def use_fp8(decoder: Decoder) -> None:
    """Exchange the linear maps of the layers for torchao's, whose parameters have the same names and stay as they are.

    Scales are of whole tensors and of the moment ("tensorwise", arXiv 2209.05433); the head stays in bf16. Maps with a
    side that 16 does not divide stay, too.
    """
    library = import_module("torchao.float8")

    def is_wide(module: nn.Module, _name: str) -> bool:
        return isinstance(module, nn.Linear) and not (module.in_features % MULTIPLE or module.out_features % MULTIPLE)

    config = library.Float8LinearConfig.from_recipe_name("tensorwise")
    library.convert_to_float8_training(decoder.layers, config=config, module_filter_fn=is_wide)
