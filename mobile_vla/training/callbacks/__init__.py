"""One callback a concern; none reads the state of another."""
