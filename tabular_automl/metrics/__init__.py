"""How good predictions are, by the names users know."""
