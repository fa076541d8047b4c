"""Models behind one protocol, and ``Caller``, through which stages call them."""
