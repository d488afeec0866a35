"""What stored contexts hold, told from the stores alone: no model, no torch."""
