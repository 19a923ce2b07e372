"""Plain training of one network; it knows nothing of search."""
