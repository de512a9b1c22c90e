"""Settings of the token shards, and the form of the batches that are drawn from them."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = ["BatchForm", "TokensSettings"]


class TokensSettings(Settings):
    """How documents are packed into token shards."""

    shard_bytes: int = Field(default=16_000_000, gt=0)
    """UTF-8 bytes of documents to a shard. A shard is what a killed run does not encode again."""


@dataclass(frozen=True)
class BatchForm:
    """So many batches after one another that have the same form and mixture."""

    batches: int
    sequences: int
    sequence_tokens: int
    mixture: Mapping[str, float] | None
