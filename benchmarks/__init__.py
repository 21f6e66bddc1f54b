"""What is measured. Each module is a command that prints a ratio with its spread."""
