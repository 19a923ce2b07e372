"""The forms in which a network leaves the house, one a file.

Each module has `FILES`, the names of what it writes; `NEEDS`, modules that must be installed with the extra that brings
them; `ALONE`, whether it runs without cellnas; and `write(model, folder)`. What `nas/export/replay.py` calls by the
same name runs the files in a fresh process.
"""
