"""Counter-based randomness: known answers, and scalar and array forms that agree."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardkit.planning.hashing import Domain, counter_hash, hash_int, splitmix64, uniform

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
WORDS = st.integers(0, MASK)


def reference_outputs(seed: int, count: int) -> list[int]:
    """The published generator, with its state, in whole numbers without a width."""
    outputs = []
    state = seed
    for _ in range(count):
        state = (state + GAMMA) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        outputs.append(z ^ (z >> 31))
    return outputs


def words(*values: int) -> np.ndarray:
    """The values as uint64."""
    return np.array(values, dtype=np.uint64)


def test_splitmix64_gives_the_published_outputs_of_seed_1234567():
    """The first five outputs for seed 1234567 are those published with the generator."""
    states = words(*((1234567 + k * GAMMA) & MASK for k in range(5)))
    assert splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_splitmix64_of_zero_is_the_published_first_output():
    """Seed 0 begins with e220a8397b1dcdaf."""
    assert splitmix64(words(0)).tolist() == [0xE220A8397B1DCDAF]


@given(st.lists(WORDS, min_size=1, max_size=20))
def test_splitmix64_equals_the_generator_in_whole_numbers(seeds):
    """Wrapping in 64 bits gives what arithmetic without a width gives, for every seed."""
    assert splitmix64(words(*seeds)).tolist() == [reference_outputs(seed, 1)[0] for seed in seeds]


def test_splitmix64_of_an_array_without_dimensions_wraps_silently():
    """A 0-d array, which NumPy turns into a scalar that warns of overflow, gives its hash and no warning."""
    assert int(splitmix64(np.array(MASK, dtype=np.uint64))) == reference_outputs(MASK, 1)[0]


def test_splitmix64_leaves_its_input_alone():
    """The array that is hashed is not written to."""
    x = words(1, 2, 3)
    splitmix64(x)
    assert x.tolist() == [1, 2, 3]


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, min_size=1, max_size=20))
def test_the_scalar_hash_agrees_with_the_array_hash(parts, counters):
    """`hash_int` is `counter_hash` at one counter, whatever the parts."""
    drawn = counter_hash(*parts, counters=words(*counters))
    assert drawn.tolist() == [hash_int(*parts, counter=counter) for counter in counters]


@given(st.lists(WORDS, max_size=5))
def test_a_stream_is_the_splitmix64_generator(parts):
    """Counters 0, 1, 2 … of a stream are the successive outputs of one published generator."""
    drawn = counter_hash(*parts, counters=np.arange(4, dtype=np.uint64)).tolist()
    assert drawn == reference_outputs(_unmix(drawn[0]), 4)


def test_streams_differ_in_every_part_their_order_and_their_number():
    """Seed, epoch, domain and window each change the stream; so do swapped parts and a trailing zero."""
    names = [
        (),
        (0,),
        (0, 0),
        (1, 0),
        (0, 1),
        (0, 1, 0),
        (0, 1, 2, 3),
        (0, 1, 3, 2),
        (0, 1, 2, 4),
        (5, 1, 2, 3),
    ]
    streams = {tuple(counter_hash(*name, counters=np.arange(3, dtype=np.uint64)).tolist()) for name in names}
    assert len(streams) == len(names)


def test_every_use_has_its_own_domain_number():
    """The numbers of the domains are fixed: they are part of every draw."""
    assert {domain.name: domain.value for domain in Domain} == {
        "SHARDS": 1,
        "CLIPS": 2,
        "WINDOW": 3,
        "CROP": 4,
        "PACKING": 5,
        "FRAMES": 6,
        "FLIP": 7,
        "DRAW": 8,
        "SEGMENTS": 9,
    }


def test_uniform_is_the_top_53_bits():
    """A draw becomes the float of its top 53 bits over 2**53, so that 1 is never reached."""
    expected = [(hash_int(9, 2, counter=i) >> 11) / 2**53 for i in range(100)]
    assert [uniform(9, 2, counter=i) for i in range(100)] == expected


def test_uniform_spreads_evenly():
    """Of 20,000 draws each tenth of [0, 1) gets a tenth, within five standard deviations."""
    drawn = [uniform(3, counter=i) for i in range(20_000)]
    tenths = np.histogram(drawn, bins=10, range=(0.0, 1.0))[0]
    assert int(tenths.sum()) == 20_000
    assert np.abs(tenths - 2000).max() < 5 * np.sqrt(20_000 * 0.1 * 0.9)


def _unmix(output: int) -> int:
    """The seed whose first output this is: every step of the mixer undone."""

    def unshift(z: int, bits: int) -> int:
        x = z
        for _ in range(64 // bits):
            x = z ^ (x >> bits)
        return x

    z = unshift(output, 31)
    z = unshift((z * pow(0x94D049BB133111EB, -1, 2**64)) % 2**64, 27)
    z = unshift((z * pow(0xBF58476D1CE4E5B9, -1, 2**64)) % 2**64, 30)
    return (z - GAMMA) % 2**64
