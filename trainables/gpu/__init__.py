"""GPUs as trials use them: whether they work, and how much of their memory a trial may use."""
