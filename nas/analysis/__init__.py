"""Comparing searches: statistics, anytime curves and the report; it knows nothing of how a search is run."""
