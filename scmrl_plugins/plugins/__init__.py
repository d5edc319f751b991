"""The built-in plugins; each registers through the same hook as a stranger's."""
