"""What every stage stands on: settings, recipe files, errors, artifacts, the ledger, progress."""
