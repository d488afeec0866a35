"""Where episodes come from: files on disk, or a simulated hall."""
