"""Pictures as people have them: which files there are, how they are read, and how they are divided."""
