"""The model timed against its published form."""
