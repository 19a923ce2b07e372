"""How the probabilities of a supernet become an architecture, one way a file."""
