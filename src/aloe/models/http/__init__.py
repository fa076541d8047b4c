"""Models behind an OpenAI-compatible endpoint: connections, limits, retries."""
