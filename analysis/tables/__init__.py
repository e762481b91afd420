"""The tables: rows of records, as CSV, Markdown and LaTeX."""
