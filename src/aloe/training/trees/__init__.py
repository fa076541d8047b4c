"""Conversation trees as packed sequences: the trie, the packs, attention, head and model."""
