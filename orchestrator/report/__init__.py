"""The report: its words, tables and page."""
