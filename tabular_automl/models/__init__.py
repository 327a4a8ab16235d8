"""Model families, one file each; files never import each other."""
