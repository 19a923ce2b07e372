"""Settings of a command. No other package knows Hydra."""
