"""What a checkpoint holds, and how it comes back."""
