"""Clips out of media files: which frames, which sound, and whether they are good enough to be a sample."""
