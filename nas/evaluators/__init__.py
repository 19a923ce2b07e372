"""How a proposal is scored, one way a file."""
