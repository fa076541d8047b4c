"""Preference trees by collaboration of user, inducer, responders and judge; labels and pairs."""
