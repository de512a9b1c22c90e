"""Optimisers and schedules over named parameters."""
