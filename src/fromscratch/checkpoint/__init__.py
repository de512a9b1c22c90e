"""Training state on disk that is never lost or half read."""
