"""From windows of contexts to chunks of actions."""
