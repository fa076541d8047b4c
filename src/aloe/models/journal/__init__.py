"""The journal of all calls: written once, looked into, forgotten on demand."""
