"""From the files that users have to samples: folders, tables, pairs, splits, and a cache of built data."""
