"""Bagging, stacking, weighting and calibration; knows Model, no concrete family."""
