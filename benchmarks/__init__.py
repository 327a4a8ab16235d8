"""Side-by-side runs of this library and others, one fresh process per fit."""
