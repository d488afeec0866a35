"""What a backbone hands to the head: where it is taken, which is asked for, and how it is stored.

`open(folder)` reads a store as numpy arrays; it needs neither torch nor the model.
"""

from mobile_vla.contexts.reader import open_store as open

__all__ = ["open"]
