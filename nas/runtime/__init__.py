"""The process: standard streams, Ctrl-C, the import path."""
