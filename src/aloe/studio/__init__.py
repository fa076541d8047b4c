"""The studio: look at a run while it grows, chat with its models, compare two of them blind."""
