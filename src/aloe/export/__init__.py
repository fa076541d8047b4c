"""Training data in the formats of others, and the published conversations format in and out."""
