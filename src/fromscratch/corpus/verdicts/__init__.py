"""Reading verdicts back: one document explained, some sampled, two runs compared."""
