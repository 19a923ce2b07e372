"""Training of supernets: gradient searches, and weights that many architectures share."""
