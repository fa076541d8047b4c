"""The stages of a run: one table of them, what each works with, and the pipeline that runs them in order."""
