"""The leaderboard of a database: it ranks its trials itself, and only those that are listed are read whole.

Nothing here depends on the kind of the database, and the entries are those of `nas.store.leaderboard.ranked_in_python`.
"""
