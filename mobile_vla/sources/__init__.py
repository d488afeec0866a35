"""Where episodes come from: files on disk, a simulated hall, arrays in memory, or a source of your own."""
