"""The whole loader against its peers: the same clips, the same tensors, in turns on one machine.

clips ─► prepare ─► rounds ─► ratios ─► report        one process a measurement, started by `rounds`
                      └─► measure ─► contestants

clips.py         makes the clips
scale.py         how many clips, how long, which shapes: the full size and the tests'
prepare.py       packs them, and copies the members into what each peer reads
cases.py         Case: a contestant, a stored shape, a decoder, a consumer; the list of all
contestants/     one file a family: shardkit, each peer, bare decoders
decoding.py      what peers decode with
measure.py       one measurement, in a process of its own
process_tree.py  CPU time of a process and all below it
rounds.py        worker counts found, cases measured in turns
ratios.py        what must hold
verdicts.py      whether it holds, over the rounds
report.py        tables and JSON
machine.py       what it ran on
"""
