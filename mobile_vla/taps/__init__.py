"""Where in a policy vectors are read, and how."""
