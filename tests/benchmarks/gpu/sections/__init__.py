"""Sections that end in each way there is; the bench that they get is a folder."""
