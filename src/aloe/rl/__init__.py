"""Reinforcement learning against the simulated user: conversations under the current policy, rewards, and the loop."""
