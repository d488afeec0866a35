"""One engine that stores what tap points hold, in training and alone."""
