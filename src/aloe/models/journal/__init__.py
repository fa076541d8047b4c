"""The journal of all calls: written once, inspected, deleted on demand."""
