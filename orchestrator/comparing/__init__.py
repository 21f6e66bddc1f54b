"""What follows from results before anything is drawn or said: differences, how sure they are, what others published."""
