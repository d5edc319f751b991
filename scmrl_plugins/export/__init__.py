"""Trained models as files of other programs, each compared with the model once it is written."""
