"""The report: a page, made from a run's files alone, that one sends to a colleague."""
