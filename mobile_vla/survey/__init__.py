"""What a dataset holds, before anything is trained on it: counts, figures, and what deserves a look."""
