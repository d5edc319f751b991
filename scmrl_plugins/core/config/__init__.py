"""Configurations: sections, the layers they are merged from, and messages about mistakes."""
