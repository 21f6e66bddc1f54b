"""Report of a sweep: its text, tables and page."""
