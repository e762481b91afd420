"""All figures and tables, made from the records, and the manifest of where each came from."""
