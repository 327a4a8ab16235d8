"""Hyperparameters drawn from the spaces that the families declare."""
