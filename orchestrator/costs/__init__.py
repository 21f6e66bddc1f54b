"""What trials take of the machines, and how long."""
