"""Compares users with users: are a simulator's conversations like people's, and what gives it away?"""
