"""Methods and seeds compared under every condition."""
