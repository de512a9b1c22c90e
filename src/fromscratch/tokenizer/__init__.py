"""Train, load and measure the tokenizer."""
