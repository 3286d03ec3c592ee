"""Bytes to values and back: manifest, index, members. Pure: no files, no clocks."""
