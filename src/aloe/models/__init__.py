"""Models behind one protocol, and the one way in which stages call them: ``Caller``."""
