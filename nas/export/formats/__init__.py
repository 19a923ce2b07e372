"""The formats in which a network is exported, one per file.

Each module has `FILES`, the names of the files that it writes; `NEEDS`, required module -> the extra that installs it;
`IS_STANDALONE`, whether it runs without cellnas; `write(model, folder)`; and `load(folder, threads, work)`, which a
fresh process runs from its source: it imports what it needs itself, and `in_torch` is defined there. `prepare(model,
folder, work)` may write more for it to `work`, and `explain(error, folder)` may turn what the fresh process printed
into a sentence.
"""
