"""Commands for those who write components and plugins."""
