"""The keys and values of what was read, so that generation computes each token once.

B row · T new position · S position held · G key/value head · K head width · P = B
"""

import torch
from torch import Tensor

from fromscratch.model.settings import DecoderSettings

__all__ = ["KeyValueCache", "LayerCache"]


class KeyValueCache:
    """Room for ``capacity_tokens`` positions in each of ``rows`` sequences, which may be of different lengths."""

    def __init__(
        self, settings: DecoderSettings, rows: int, capacity_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (rows, capacity_tokens, settings.kv_heads, settings.key_width)
        # Zeros, not empty: what a mask hides is still multiplied by 0, and 0 times NaN is NaN.
        self._keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(settings.layers)]
        self._values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(settings.layers)]
        self._end = 0  # no row is longer; on the host, since asking a device for it would stall it
        self.lengths_B = torch.zeros(rows, dtype=torch.int64, device=device)
        """Tokens that each row has read. Where rows were padded to one length, set it to what they hold."""

    def next_positions(self, tokens: int) -> Tensor:
        """Positions [B, T] of the next ``tokens`` tokens of each row."""
        return self.lengths_B.unsqueeze(1) + torch.arange(tokens, device=self.lengths_B.device)

    def end_after(self, tokens: int) -> int:
        """Positions held once ``tokens`` more are read: no row is longer."""
        return self._end + tokens

    def layer(self, index: int, positions_BT: Tensor) -> "LayerCache":
        """One layer's keys and values, for new tokens at these positions."""
        end = self.end_after(positions_BT.shape[1])
        return LayerCache(self._keys[index][:, :end], self._values[index][:, :end], positions_BT)

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` more of each row as read."""
        self._end += tokens
        self.lengths_B = self.lengths_B + tokens

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (indices or a mask) alone."""
        self._keys = [each[rows] for each in self._keys]
        self._values = [each[rows] for each in self._values]
        self.lengths_B = self.lengths_B[rows]


class LayerCache:
    """The part of a cache that one attention layer writes to and reads from, for new tokens at given positions."""

    def __init__(self, key_BSGK: Tensor, value_BSGK: Tensor, positions_BT: Tensor) -> None:
        self.key_BSGK = key_BSGK
        self.value_BSGK = value_BSGK
        self.positions_BT = positions_BT

    def extended(self, key_BTGK: Tensor, value_BTGK: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values at their positions; return all [B, S, G, K]."""
        row_B1 = torch.arange(len(self.positions_BT), device=self.positions_BT.device).unsqueeze(1)
        self.key_BSGK[row_B1, self.positions_BT] = key_BTGK
        self.value_BSGK[row_B1, self.positions_BT] = value_BTGK
        return self.key_BSGK, self.value_BSGK
