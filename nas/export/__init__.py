"""Export of an architecture and its network."""
