"""`python -m nas`."""

from nas.cli import entry

entry()
