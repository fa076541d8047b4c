"""Training: a tiny base model from scratch, then SFT and DPO of any causal language model through TRL (section 3.3)."""
