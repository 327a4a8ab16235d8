"""Image columns for tabular_automl; torch is imported only when used."""
