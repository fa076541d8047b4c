"""Training data in the formats of other tools; import and export of the published format."""
