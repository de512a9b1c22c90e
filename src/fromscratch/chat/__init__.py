"""Chat tuning, templates, and talking to a model."""
