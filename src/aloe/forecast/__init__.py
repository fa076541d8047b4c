"""What ``aloe plan`` says before anything is sent: calls, tokens, cost, and the size of the training."""
