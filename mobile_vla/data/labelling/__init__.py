"""Labels from tables that users keep: read, matched to episodes and frames, joined."""
