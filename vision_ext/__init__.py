"""Image columns for tabular_automl, registered through its entry points like any plug-in."""
