"""What a device reaches in large matrix products: the peak that model FLOPs are compared with."""

import time
from functools import lru_cache

import torch

__all__ = ["measured_flops_per_second"]

SIDE = {"cpu": 1024, "cuda": 8192}
ROUNDS = 10


@lru_cache
def measured_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The best of ten products of square matrices, in the type of the products, by CPU time per thread or GPU time."""
    side, draw = SIDE[device.type], torch.Generator(device).manual_seed(0)  # no draw of the run's own
    one, two = (torch.randn(side, side, device=device, dtype=dtype, generator=draw) for _ in range(2))
    return 2 * side**3 / min(_seconds(one, two) for _ in range(ROUNDS))


def _seconds(one: torch.Tensor, two: torch.Tensor) -> float:
    if one.is_cuda:
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begun.record()
        one @ two
        ended.record()
        torch.cuda.synchronize(one.device)
        return float(begun.elapsed_time(ended)) / 1e3
    spent = time.process_time()
    one @ two
    return (time.process_time() - spent) / torch.get_num_threads()
