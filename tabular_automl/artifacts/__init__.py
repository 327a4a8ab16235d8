"""Saved state: json, arrays and native model files, never code."""
