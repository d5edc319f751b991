"""Miniatures of the public data sets, in the same formats on disk: ``fixture`` writes them for tests."""
