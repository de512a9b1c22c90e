"""The processes that train one model together: how they share its work, one file per parallelism."""
