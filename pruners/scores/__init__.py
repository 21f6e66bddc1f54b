"""One score function per family of pruners. A new one is its file, and a line in `pruners/registry.py`."""
