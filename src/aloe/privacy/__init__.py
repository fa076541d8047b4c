"""Personas from chat logs: reading them, removing personal data, and deleting a person again."""
