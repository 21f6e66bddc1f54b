"""Check on a machine with a GPU what cannot be known without one: numbers, memory, faults and speed."""
