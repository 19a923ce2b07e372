"""Data sets, one a file; each reads its own images and states its own `Task`."""
