"""Collections of one modality, each in its own layout, which data sets pair up."""
