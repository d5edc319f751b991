"""Collections of one modality that data sets pair up."""
