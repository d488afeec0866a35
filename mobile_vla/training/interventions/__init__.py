"""Interventions: windows whose text, pictures, image tokens or contexts are changed, probed beside the own ones."""
