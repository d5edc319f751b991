"""What a model costs and does: operations, energy, firing rates."""
