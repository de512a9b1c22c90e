"""The release, its gates and its report."""
