"""The data path measured against reading files anew."""
