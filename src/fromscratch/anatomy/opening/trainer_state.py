"""The model among what a trainer saves beside it: optimiser, schedule, averages."""

from collections.abc import Mapping
from dataclasses import replace

from fromscratch.anatomy.opening.headers import check_name, shown
from fromscratch.anatomy.tensors import StoredTensor
from fromscratch.core.errors import FromScratchError

__all__ = ["KeyPath", "model_alone"]

KeyPath = tuple[str, ...]
"""The keys of nested tables that lead to a tensor; its own name, dots and all, is one of them."""

MODELS = ("state_dict", "model_state_dict", "model", "module", "app", "params")
OTHERS = {"optimizer", "optimizers", "optim", "optimizer_states", "optimizer_state_dict", "optim_state_dict", "ema"}
OTHERS |= {"scheduler", "lr_scheduler", "lr_schedulers", "scaler", "dataloader", "train_state", "rng_state"}


def model_alone(tensors: Mapping[KeyPath, StoredTensor], place: str) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
    """The model's tensors by name, and a remark on what was left out, if anything.

    Where a table is called as trainers call their model, it is the model, and again within it. Raises
    FromScratchError for two tensors of one name.
    """
    prefix: KeyPath = ()
    kept = dict(tensors)
    while wrapper := next((each for each in MODELS if any(path[0] == each for path in kept if len(path) > 1)), None):
        prefix = (*prefix, wrapper)
        kept = {path[1:]: each for path, each in kept.items() if path[0] == wrapper and len(path) > 1}
    kept = {path: each for path, each in kept.items() if len(path) < 2 or path[0] not in OTHERS}
    named: dict[str, StoredTensor] = {}
    for path, each in kept.items():
        check_name(path, place)
        name = ".".join(path) or "tensor"
        if name in named:
            raise FromScratchError(f"{place}: two tensors are called `{shown(name)}`", "name the file of one model")
        named[name] = replace(each, name=name)
    if len(kept) == len(tensors):
        return named, ()
    where = f"`{'.'.join(prefix)}` is taken for the model" if prefix else "the model is taken alone"
    return named, (f"{place}: {where}; {len(tensors) - len(kept):,} tensors beside it are left out",)
