"""The command line `nas`."""
