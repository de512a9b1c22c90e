"""The training loop and its recovery."""
