"""A trial on Ray, and its workers. Nothing else in `trainables` knows Ray."""
