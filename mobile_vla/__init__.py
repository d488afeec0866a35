"""Fine-tune, probe and compare vision-language-action policies on a mobile robot's own episodes."""

__version__ = "0.1.0"
