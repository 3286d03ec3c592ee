"""Tars that others wrote, as a data set: an index and a manifest beside them or elsewhere; nothing is copied.

    tars.py          which tars, and where they lie
    tar_members.py   a tar's members, as its bytes pass
    samples.py       members that share a key, and which of them is what
    sample_texts.py  what json, cls and txt members say
    sample_media.py  a sample's media on their way to a worker process, and what is found in them
    probing.py       what a sample's media hold
    worker.py        the process that finds it out
    settings.py      what decides frames and sound
    job.py           what a run is asked to do
    run.py           the run: tars → samples → workers → parts → index and manifest
    output.py        the folder that they are written into
    gathering.py     the parts of all shards as one index
    outcome.py       what a run says of itself

Only the worker processes decode: the bytes are of unknown origin.
"""
