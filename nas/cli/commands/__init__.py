"""One command a file: its docstring is its help, its `main` gets the settings and returns the exit code."""
