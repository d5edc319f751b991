"""Data sets of the Hugging Face hub, or tables of files."""
