"""The world's words: slots of facts, traits, topics, and the index that reads them back."""
