"""What the licences of well-known model families ask of whoever passes a model on: a table, not a judgement."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["FAMILIES", "RULES", "Ask", "Family", "Rule"]

META = "Meta Platforms, Inc. All Rights Reserved."


@dataclass(frozen=True)
class Ask:
    """One thing that a licence asks for."""

    kind: Literal["copy", "notice", "display", "name", "terms"]
    """A copy of the text, a sentence in a file, a sentence on the model card, a name that begins so; ``terms`` of use
    are nothing that a folder can show."""
    told: str
    phrase: str = ""
    """What is looked for: the words of a notice or display, or the beginning of the name."""


@dataclass(frozen=True)
class Rule:
    """One licence at one revision."""

    identifier: str
    """SPDX, or ScanCode's where SPDX has none."""
    title: str
    tags: tuple[str, ...]
    """How model cards and GGUF files name it, in lower case; ``yi-license`` was said of two revisions."""
    marks: tuple[str, ...]
    """Words that its text holds, all of them, and no other licence of the table; in lower case, single spaces."""
    asks: tuple[Ask, ...]
    source: str
    """Where the rule was read."""


@dataclass(frozen=True)
class Family:
    """Models that are known by name."""

    pattern: str
    """A regular expression over names in lower case."""
    rules: tuple[str, ...]
    """Identifiers of rules; more than one where the licence changed between revisions."""
    note: str = ""


def _copy(title: str) -> Ask:
    return Ask("copy", f"a copy of the {title}")


def _llama(version: str, released: str, name: str, identifier: str, *more: Ask) -> Rule:
    brand = "Meta Llama 3" if version == "3" else "Llama"
    return Rule(
        identifier,
        f"Llama {version} Community License",
        (f"llama{version}", f"llama-{version}"),
        (f"llama {version} community license agreement", f"version release date: {released}"),
        (
            _copy(f"Llama {version} Community License Agreement"),
            Ask(
                "notice",
                "its notice in a file called Notice",
                f"{name} is licensed under the {name} Community License, Copyright © {META}",
            ),
            Ask("display", f"“Built with {brand}” in a prominent place", f"Built with {brand}"),
            Ask("name", "a name that begins with Llama", "Llama 3" if version == "3" else "Llama"),
            Ask("terms", "use within its acceptable use policy"),
            Ask("terms", "a licence of Meta's own above 700 million users a month"),
            *more,
        ),
        f"Llama {version} Community License Agreement, {released}, sections 1.b and 2",
    )


NO_OTHER_MODELS = Ask("terms", "outputs not used to improve models of other families")
TONGYI = "Copyright (c) Alibaba Cloud. All Rights Reserved."

RULES = (
    Rule(
        "LicenseRef-scancode-llama-2-license-2023",
        "Llama 2 Community License",
        ("llama2", "llama-2"),
        ("llama 2 community license agreement",),
        (
            _copy("Llama 2 Community License Agreement"),
            Ask(
                "notice",
                "its notice in a file called Notice",
                f"Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) {META}",
            ),
            Ask("terms", "use within its acceptable use policy"),
            Ask("terms", "a licence of Meta's own above 700 million users a month"),
            NO_OTHER_MODELS,
        ),
        "Llama 2 Community License Agreement, 18 July 2023, sections 1.b and 2; it covers Meta's code as well",
    ),
    _llama("3", "april 18, 2024", "Meta Llama 3", "LicenseRef-scancode-llama-3-license-2024", NO_OTHER_MODELS),
    _llama("3.1", "july 23, 2024", "Llama 3.1", "LicenseRef-scancode-llama-3.1-license-2024"),
    _llama("3.2", "september 25, 2024", "Llama 3.2", "LicenseRef-scancode-llama-3.2-license-2024"),
    Rule(
        "LicenseRef-Yi-1.0",
        "Yi Series Models License Agreement 1.0",
        ("yi-license",),
        ("yi series models", "license agreement", "version: 1.0"),
        (
            _copy("Yi Series Models License Agreement"),
            Ask("terms", "use that is not commercial, unless registered with the licensor and authorised in writing"),
        ),
        "licence file of the Yi repository, 1 November 2023",
    ),
    Rule(
        "LicenseRef-Yi-2.1",
        "Yi Series Models Community License Agreement 2.1",
        ("yi-license",),
        ("yi series models", "license agreement", "version: 2.1"),
        (
            _copy("Yi Series Models Community License Agreement"),
            Ask("terms", "registration with the licensor before commercial use"),
        ),
        "licence file of the Yi repository, 23 November 2023",
    ),
    Rule(
        "LicenseRef-Tongyi-Qianwen",
        "Tongyi Qianwen License Agreement",
        ("tongyi-qianwen", "tongyi-qianwen-license-agreement"),
        ("tongyi qianwen license agreement",),
        (
            _copy("Tongyi Qianwen License Agreement"),
            Ask(
                "notice",
                "its notice in a file called Notice",
                f"Tongyi Qianwen is licensed under the Tongyi Qianwen LICENSE AGREEMENT, {TONGYI}",
            ),
            Ask("terms", "a licence of the licensor's own above 100 million users a month"),
        ),
        "Tongyi Qianwen License Agreement, 3 August 2023, sections 3 and 4",
    ),
    Rule(
        "LicenseRef-Qwen-Research",
        "Qwen Research License Agreement",
        ("qwen-research",),
        ("qwen research license agreement",),
        (
            _copy("Qwen Research License Agreement"),
            Ask(
                "notice",
                "its notice in a file called Notice",
                f"Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT, {TONGYI}",
            ),
            Ask(
                "display", "“Built with Qwen” or “Improved using Qwen” where models were trained with it", "using Qwen"
            ),
            Ask("terms", "use that is not commercial"),
        ),
        "Qwen Research License Agreement, 19 September 2024, sections 3 to 5",
    ),
    Rule(
        "LicenseRef-Gemma",
        "Gemma Terms of Use",
        ("gemma",),
        ("gemma terms of use", "gemma prohibited use policy"),
        (
            _copy("Gemma Terms of Use"),
            Ask(
                "notice",
                "its notice in a file called Notice",
                "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
            ),
            Ask("terms", "its restrictions passed on in an agreement with each recipient"),
        ),
        "Gemma Terms of Use, 21 February 2024, section 3.1",
    ),
    Rule(
        "Apache-2.0",
        "Apache License 2.0",
        ("apache-2.0", "apache 2.0", "apache2", "apache license 2.0"),
        ("apache license", "version 2.0, january 2004"),
        (
            _copy("Apache License 2.0"),
            Ask("terms", "a notice in changed files, and the NOTICE file of the original where there is one"),
        ),
        "Apache License 2.0, section 4",
    ),
    Rule(
        "MIT",
        "MIT License",
        ("mit",),
        ("permission is hereby granted, free of charge, to any person obtaining a copy", "the software is provided"),
        (_copy("MIT License with its copyright line"),),
        "MIT License, second paragraph",
    ),
)

# The first that fits holds. Names as model cards give them, with or without their owner.
FAMILIES = (
    Family(r"llama-?2\b", ("LicenseRef-scancode-llama-2-license-2023",)),
    Family(r"llama-?3\.1\b", ("LicenseRef-scancode-llama-3.1-license-2024",)),
    Family(r"llama-?3\.2\b", ("LicenseRef-scancode-llama-3.2-license-2024",)),
    Family(r"llama-?3(?![.\d])", ("LicenseRef-scancode-llama-3-license-2024",)),
    Family(r"\byi-1\.5-", ("Apache-2.0",)),
    Family(
        r"\byi-(6|9|34)b",
        ("LicenseRef-Yi-1.0", "LicenseRef-Yi-2.1", "Apache-2.0"),
        "its licence depends on the revision: 1.0 from 1 November 2023, 2.1 from 23 November 2023, "
        "Apache-2.0 from 30 May 2024",
    ),
    Family(r"\bqwen-(1[._]8|7|14|72)b", ("LicenseRef-Tongyi-Qianwen",)),
    Family(r"\bqwen2\.5-(coder-)?3b", ("LicenseRef-Qwen-Research",)),
    Family(r"\bqwen(2(\.5)?-(0\.5|1\.5|7|14|32)b|3-)", ("Apache-2.0",)),
    Family(r"\bgemma(-[123])?-", ("LicenseRef-Gemma",)),
    Family(r"\bmistral-7b|\bmixtral-8x7b|\bsmollm", ("Apache-2.0",)),
)
