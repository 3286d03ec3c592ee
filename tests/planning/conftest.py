"""Hypothesis without a deadline: on a busy machine the clock says nothing about a pure function."""

from hypothesis import settings

settings.register_profile("planning", deadline=None)
settings.load_profile("planning")
