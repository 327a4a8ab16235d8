"""Predictors made small and fast for use elsewhere."""
