"""The tiny base model that is trained from scratch on the world's words."""
