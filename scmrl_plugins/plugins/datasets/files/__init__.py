"""From files to samples: folders, tables, pairs, splits, and a cache of built data."""
