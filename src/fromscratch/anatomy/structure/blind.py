"""Roles found without names."""

from collections.abc import Mapping
from dataclasses import dataclass

from fromscratch.anatomy.structure.roles import Finding, Part, Role
from fromscratch.anatomy.tensors import Checkpoint

__all__ = ["BlindRoles", "find_roles"]


@dataclass(frozen=True)
class BlindRoles:
    """Parts by name, and how they were found."""

    parts: Mapping[str, Part]
    findings: Mapping[str, Finding]
    unknown: tuple[str, ...]


def find_roles(checkpoint: Checkpoint) -> BlindRoles:
    """The role of each tensor from shapes and numbers."""
    parts = {name: Part(name, Role.UNKNOWN, None) for name in checkpoint.tensors}
    return BlindRoles(parts, {}, ())
