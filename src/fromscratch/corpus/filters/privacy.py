"""Personal numbers and addresses are masked; documents that are lists of them go."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from fromscratch.corpus.filters.filter import Batch, Filter, Verdict, no_reasons
from fromscratch.corpus.kernels.metrics import Metric

__all__ = ["TOKENS", "Privacy"]

Choice = Literal["mask", "keep"]

# What stands in the text afterwards; e-mail, IP and key as in StarCoder (Li et al. 2023, arXiv 2305.06161, section 4).
TOKENS = {
    "emails": "<EMAIL>",
    "phones": "<PHONE>",
    "national_ids": "<ID_NUMBER>",
    "ip_addresses": "<IP_ADDRESS>",
    "bank_cards": "<BANK_CARD>",
    "accounts": "<ACCOUNT>",
    "keys": "<KEY>",
}


class Privacy(Filter):
    """What is masked, each kind by a token of its own, and what is left alone.

    Digits may be full-width. What standards reserve for documentation stays (RFC 2606, RFC 3849, RFC 5737, private
    networks, 555 numbers, test cards), and so does what a checksum or a numbering plan refutes.
    """

    columns: ClassVar[Mapping[str, str]] = {"masked": "float32"}

    emails: Choice = "mask"
    """E-mail addresses."""

    phones: Choice = "mask"
    """Chinese mobile and landline numbers, North American ones, those with + and country, and those after a word such
    as 电话 or Tel."""

    national_ids: Choice = "mask"
    """Chinese numbers of 18 digits whose date and check digit are right (GB 11643), and US social security numbers."""

    ip_addresses: Choice = "mask"
    """Public IPv4 addresses with a part above 99, as versions hardly have, and IPv6 addresses."""

    bank_cards: Choice = "mask"
    """Numbers of an issuer's range whose check digit is right."""

    accounts: Choice = "mask"
    """Numbers after QQ and names after 微信."""

    keys: Choice = "mask"
    """Access keys: AWS key ids, GitHub tokens, Google API keys."""

    code: Choice = "mask"
    """Whether e-mail addresses, IP addresses and keys are masked in code too; other numbers there are data."""

    most_per_thousand_characters: float = Field(default=10, gt=0)
    """Documents with more matches for each thousand characters, and ``least_in_list`` of them, are lists of contacts,
    and go. Ours."""

    least_in_list: int = Field(default=10, ge=1)
    """How many matches make a list."""

    def judge(self, batch: Batch) -> Verdict:
        """The masked texts; `contact_list`, with how many matches there were."""
        import pyarrow as pa

        from fromscratch.corpus.kernels.privacy import find_private, mask
        from fromscratch.corpus.kernels.text_buffers import text_buffers

        is_code = (batch.languages == "code").astype(np.bool_)
        wanted = np.array([getattr(self, kind) == "mask" for kind in TOKENS])
        data, offsets = text_buffers(batch.texts)
        found = find_private(data, offsets, is_code, wanted)
        if self.code == "keep":
            found = found[~is_code[found[:, 0]]]
        counts = np.bincount(found[:, 0], minlength=len(batch))
        density = 1000 * counts / np.maximum(batch.metrics[:, Metric.CHARACTERS], 1)
        reasons, evidence = no_reasons(batch), no_reasons(batch)
        for place in np.flatnonzero((counts >= self.least_in_list) & (density > self.most_per_thousand_characters)):
            reasons[place] = "contact_list"
            evidence[place] = f"{counts[place]} matches, {density[place]:.3g} for each thousand characters"
        masked = {"masked": counts.astype(np.float32)}
        if not len(found):
            return Verdict(reasons, evidence, masked)
        tokens = [token.encode() for token in TOKENS.values()]
        begins = np.cumsum([0, *map(len, tokens)])
        masked_data, masked_offsets = mask(data, offsets, found, np.frombuffer(b"".join(tokens), np.uint8), begins)
        texts = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(masked_offsets), pa.py_buffer(masked_data))
        return Verdict(reasons, evidence, masked, texts)
