"""Texts that words do not take apart, for tabular_automl, registered through its entry points."""
