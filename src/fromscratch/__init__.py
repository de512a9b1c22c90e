"""Train a foundation model from scratch, and prove it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
