"""A run explained: its report."""
