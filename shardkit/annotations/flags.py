"""Flags that rows give their clips; those of media stand beside them in the index."""

from shardkit.clip import UNKNOWN_EVENTS

NO_EVENT = "no_event"
"""AVE: the event of the row has no length, so the clip has its class and no event."""
BAD_EVENT = "bad_event"
"""AVVP: a row with an event of the clip was rejected, so the clip may lack one."""
UNKNOWN_MATERIAL = "unknown_material"
"""Chapters: the row names a material that the vocabulary lacks, beside what it has."""

ROW_FLAGS = (NO_EVENT, BAD_EVENT, UNKNOWN_MATERIAL, *UNKNOWN_EVENTS.values())
"""All that rows give: relabelling takes them away and sets them anew."""
