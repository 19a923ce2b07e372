"""Settings of a command: all that knows Hydra."""
