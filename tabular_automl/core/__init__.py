"""Errors, hyperparameters, time, plug-ins, events: what knows no table, model or file."""
