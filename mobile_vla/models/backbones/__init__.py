"""From a frame and a text to a context."""
