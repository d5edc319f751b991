"""What data sets of files share: folders, tables, recordings, splits, the cache."""
