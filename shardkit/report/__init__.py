"""What is in a data set, counted for people."""
