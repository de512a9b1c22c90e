"""Models that filters learn from examples, and the lists that they know without."""
