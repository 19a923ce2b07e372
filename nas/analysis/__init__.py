"""Comparison of finished searches: statistics, anytime curves and the report."""
