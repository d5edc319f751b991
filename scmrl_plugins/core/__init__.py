"""The work itself: configuration, data, model, training, evaluation, measurement, one folder a subject."""
