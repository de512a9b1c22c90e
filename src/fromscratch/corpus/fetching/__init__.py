"""Pinned packages, got by the package client of the user."""
