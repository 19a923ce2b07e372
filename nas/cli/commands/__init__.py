"""Commands, one per file: the docstring is the help, and `main` takes the settings and returns the exit code."""
