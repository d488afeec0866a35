"""The second generator: it shares no code with the first one, and its stores lie on disk as a user's do."""
