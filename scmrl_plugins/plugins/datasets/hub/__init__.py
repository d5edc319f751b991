"""Any data set of the Hugging Face hub, or files with both modalities."""
