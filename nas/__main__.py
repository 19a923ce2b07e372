"""`python -m nas`."""

from nas.cli.main import entry

entry()
