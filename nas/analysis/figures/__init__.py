"""Figures of a report, one per file, as PNG and SVG, readable in greyscale, with labels beside the curves.

Each module has `TITLE` and `draw(comparison, results)`, which returns a matplotlib figure, or None if the results do
not allow one. `comparison` holds the statistics of the report's first column, `results` every run.
"""
