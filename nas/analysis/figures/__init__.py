"""The figures of a report, one a file, as PNG and SVG, readable in grey and with labels at the curves.

Each module has `TITLE` and `draw(comparison, results)`, which returns a figure of matplotlib, or None if the results do
not allow one. `comparison` holds the statistics of the report's first column, `results` every run.
"""
