"""What trials need to know of a GPU: whether it works, and how much of its memory is theirs."""
