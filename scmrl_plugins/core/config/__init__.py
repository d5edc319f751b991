"""Configurations: their sections, the layers that they are merged from, and error messages."""
