"""The terminal that a command runs in: streams, Ctrl-C, child processes."""
