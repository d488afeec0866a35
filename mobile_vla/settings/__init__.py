"""From a user's words to typed settings: the only room that knows Hydra."""
