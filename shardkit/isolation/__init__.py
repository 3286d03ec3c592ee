"""Media decoded in processes of their own, each with a deadline: damaged files can hang or end the one that decodes."""
