"""The ALOE benchmark: AL(k) over simulated conversations, with intervals, controls and ground truth."""
