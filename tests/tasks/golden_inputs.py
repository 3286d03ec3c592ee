"""The seeded inputs whose outputs by the reference implementations are stored in golden_*.json."""

import hashlib

import numpy as np

AVVP_SEED = 20200821
AVVP_CLASSES = 25
AVVP_SEGMENTS = 10
AVE_SEED = 20180908
AVE_CLASSES = 28


def avvp_inputs():
    """Segment probabilities float64 [B, 10, 2, 25], clip probabilities [B, 25] and targets [B, 10, 2, 25] of 48 clips.

    The first eight: nothing in prediction and truth; a truth and no prediction; a prediction and no truth; everything
    everywhere; single segments at both ends, found; the same, missed; 0.5 throughout, which counts; segments predicted
    that the clip's probabilities rule out. The others are random, from sparse to dense, with runs of all lengths.
    """
    random = np.random.default_rng(AVVP_SEED)
    clips = 48
    shape = (clips, AVVP_SEGMENTS, 2, AVVP_CLASSES)
    density = random.random((clips, 1, 1, AVVP_CLASSES))
    targets = _runs(random, shape, density)
    agreeing = np.where(random.random(shape) < 0.85, targets, 1 - targets)
    scores = 0.5 * agreeing + 0.5 * random.random(shape)
    clip_scores = random.random((clips, AVVP_CLASSES)) * 1.5
    scores[:3], targets[:3], clip_scores[:8] = 0, 0, 1
    targets[1, 2:5, 0, 3], scores[2, 4:9, 1, 7] = 1, 0.9
    scores[3], targets[3] = 1, 1
    scores[4:6], targets[4:6] = 0, 0
    for end in (0, AVVP_SEGMENTS - 1):
        targets[4:6, end, :, end] = 1
        scores[4, end, :, end] = 0.8
        scores[5, end, 0, end + 1] = 0.8
    scores[6] = 0.5
    clip_scores[6] = 0.5
    clip_scores[7] = 0.499
    return scores, np.minimum(clip_scores, 1), targets


def _runs(random, shape, density):
    """0 and 1, where each segment goes on as the one before it three times out of four."""
    fresh = (random.random(shape) < density * 0.7).astype(np.float64)
    goes_on = random.random(shape) < 0.75
    for segment in range(1, shape[1]):
        fresh[:, segment] = np.where(goes_on[:, segment], fresh[:, segment - 1], fresh[:, segment])
    return fresh


def ave_inputs():
    """Scores float64 [B, 10, 29] and one-hot segment labels [B, 10, 29] of 40 clips, background last."""
    random = np.random.default_rng(AVE_SEED)
    labels = random.integers(0, AVE_CLASSES + 1, (40, 10))
    labels[random.random((40, 10)) < 0.4] = AVE_CLASSES
    one_hot = np.eye(AVE_CLASSES + 1)[labels]
    return random.random((40, 10, AVE_CLASSES + 1)) + 0.6 * one_hot, one_hot


def digest(*arrays):
    """Of the arrays' bytes: another one means that NumPy draws other numbers than when the outputs were stored."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
