"""Embeddings from an endpoint, and the journal that keeps them."""
