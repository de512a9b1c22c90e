"""How good the model is, beside baselines that were fitted on the same tokens."""
