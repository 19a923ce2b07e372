"""The forms in which a network is exported, one a file.

Each module has `FILES`, the names of the files that it writes; `NEEDS`, required module -> the extra that installs it;
`STANDALONE`, whether the form runs without cellnas; and `write(model, folder)`. The function of the same name in
`nas/export/artifact_runner.py` runs the files in a fresh process.
"""
