"""The persona pool (paper section 3.1): seeds, growth by self-generation, novelty, pairing, import."""
