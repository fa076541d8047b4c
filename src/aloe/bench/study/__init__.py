"""Studies with people: blind pages in balanced order, their answers, and an analysis with intervals."""
