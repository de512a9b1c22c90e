"""The decoder family: its shape, its loss, its generation."""
