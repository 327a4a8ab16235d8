"""AutoML for tables."""
