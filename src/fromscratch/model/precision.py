"""The type that matrix products run in."""

import torch
from torch import Tensor

__all__ = ["compute_dtype"]


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Under ``torch.autocast`` its type for the tensor's device, else the tensor's own."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype
