"""What clips are labelled for: targets and metrics of the tasks that data sets are used for."""
