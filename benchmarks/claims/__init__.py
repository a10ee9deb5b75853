"""Scripts that measure the figures of the documentation, one for each."""
