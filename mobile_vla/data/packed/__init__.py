"""Frames decoded and resized once, and where packed copies come from."""
