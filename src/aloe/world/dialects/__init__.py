"""Dialects of the world's user: seven ways to give oneself away beside the usual one, each with exact truth."""
