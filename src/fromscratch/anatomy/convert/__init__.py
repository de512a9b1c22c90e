"""One form of a checkpoint made into another: planned, checked, and applied without loading it."""
