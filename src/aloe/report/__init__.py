"""The report: one HTML page made from a run's files alone, to be sent to colleagues."""
