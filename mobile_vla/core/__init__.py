"""What everybody speaks: batch, action space, preprocessing, errors, files that are never half-written."""
