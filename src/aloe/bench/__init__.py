"""The ALOE benchmark: AL(k) over the turns of simulated conversations, with intervals, controls and ground truth."""
