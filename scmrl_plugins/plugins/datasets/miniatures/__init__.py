"""Miniatures of the public data sets in their own formats on disk: what ``fixture`` writes for tests."""
