"""What commands found, as rows for people."""
