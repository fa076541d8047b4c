"""The files of a run: JSON Lines records, the run directory, and the check of files against each other."""
