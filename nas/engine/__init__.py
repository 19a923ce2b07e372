"""The search loop, and what it does with one trial."""
