"""What is inside a checkpoint: opened without running it, compared, given its proper names."""
