"""The systems of the papers: one row of a table is one system."""
