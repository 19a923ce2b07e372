"""Reports of studies for people: one HTML file that opens without a network."""
