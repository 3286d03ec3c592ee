"""Files: read in ranges, mapped, written whole or not at all."""
