"""Settings of the token shards."""

from pydantic import Field

from fromscratch.core.settings import Settings

__all__ = ["TokensSettings"]


class TokensSettings(Settings):
    """How documents are packed into token shards."""

    shard_bytes: int = Field(default=16_000_000, gt=0)
    """UTF-8 bytes of documents to a shard. A shard is what a killed run does not encode again."""
