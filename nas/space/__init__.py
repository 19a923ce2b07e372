"""The search space: its decisions, and networks, graphs and names of theirs."""
