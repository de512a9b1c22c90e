"""Documents become token shards, and batch number i a pure function of them."""
