"""What the table is: reading, task, schema, feature table, folds."""
