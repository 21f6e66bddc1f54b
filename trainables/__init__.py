"""One trial: its architecture, its data, its training, and the record it leaves."""
