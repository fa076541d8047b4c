"""Local checkpoints: batched decoding in worker processes."""
