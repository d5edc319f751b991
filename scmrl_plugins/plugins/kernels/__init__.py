"""Compiled code that several components share."""
