"""Whether the weights of two checkpoints are related, how, and how sure that is."""
