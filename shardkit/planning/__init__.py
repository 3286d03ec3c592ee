"""Which clip comes when, and what is taken of it: order, ranks, resume, frames, windows, crops.

    hashing    counter-based randomness: every draw is a hash of its numbers
    order      (seed, epoch, position) → clip
    balance    the same where classes are drawn equally often
    steps      which positions a rank takes in a step, and what they weigh
    state      where a loader stands, and whether it may go on from there
    sampling   which frames are stored of a clip, and which window, frames, crop and events of them are used

NumPy only: no files, clocks, environment or global randomness.
"""
