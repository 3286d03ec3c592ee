"""Models: encoders of sound and picture, and what joins them; a file each, built by `build`."""
