"""Several documents in one row of tokens, and what keeps them apart.

B batch · T position · N document
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Documents", "documents_in", "ended_by"]


@dataclass(frozen=True)
class Documents:
    """The documents of a batch, one after another in each row."""

    numbers: Tensor
    """[B, T], which document of its row a token is of: 0, 1, …"""
    positions: Tensor
    """[B, T], where it stands in that document."""

    @property
    def apart(self) -> Tensor:
        """[B, T, T], whether two places of a row are of different documents."""
        return self.numbers.unsqueeze(2) != self.numbers.unsqueeze(1)

    def lengths(self) -> list[int]:
        """Tokens of each document, over all rows in order."""
        first_N = (self.positions.flatten() == 0).nonzero().flatten()
        ends_N = torch.cat([first_N[1:], first_N.new_tensor([self.positions.numel()])])
        lengths: list[int] = (ends_N - first_N).tolist()
        return lengths


def documents_in(documents_BT: Tensor) -> Documents:
    """The documents of rows whose tokens are numbered by document: a new number begins a new one."""
    begins_BT = torch.ones_like(documents_BT, dtype=torch.bool)
    begins_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    place_BT = torch.arange(documents_BT.shape[1], device=documents_BT.device).expand_as(documents_BT)
    first_BT = torch.where(begins_BT, place_BT, 0).cummax(1).values
    return Documents(begins_BT.cumsum(1) - 1, place_BT - first_BT)


def ended_by(tokens_BT: Tensor, end: int) -> Tensor:
    """Numbers of the documents of rows [B, T] in which ``end`` is the last token of each document."""
    is_end_BT = (tokens_BT == end).long()
    return is_end_BT.cumsum(1) - is_end_BT
