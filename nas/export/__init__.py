"""How a found architecture leaves the house, one form a file."""
