"""Base classes of data sets: what several of them share from a row to a model's inputs."""
