"""The policy: backbone, adapters, head."""
