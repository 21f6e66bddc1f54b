"""Score functions, one file per family of pruners. A new one needs its file and two lines in `pruners/registry.py`."""
