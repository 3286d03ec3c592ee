"""What is in a data set, for people: counts, trees of classes, and what is doubtful."""
