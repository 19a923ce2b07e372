"""What watches a search without changing it."""
