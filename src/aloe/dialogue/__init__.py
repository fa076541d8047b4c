"""Preference trees by collaboration: user, inducer, responders, judge; trees, forests, labels and pairs."""
