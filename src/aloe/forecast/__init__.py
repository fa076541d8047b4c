"""What ``aloe plan`` estimates before anything is sent: calls, tokens, cost, and the size of the training."""
