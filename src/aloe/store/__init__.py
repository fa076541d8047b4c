"""What lies on disk: JSON Lines records, the run directory, and the check of its files against each other."""
