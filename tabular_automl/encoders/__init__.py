"""One raw column to a block of features; the target is never seen."""
