"""From probabilities to a class, in the metric's sense."""

class DecisionRule:
    """Stub."""
