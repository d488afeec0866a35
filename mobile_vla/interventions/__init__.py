"""Windows whose text, pictures, image tokens or contexts are changed."""
