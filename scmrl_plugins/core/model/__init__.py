"""The model, and how it is assembled from a configuration."""
