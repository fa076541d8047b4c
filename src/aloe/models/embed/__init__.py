"""Texts to unit vectors: the lexical embedder, sentence models, endpoints, and their journal."""
