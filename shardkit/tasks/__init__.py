"""What batches are for: each task sets `batch.target` of the same shards; and what its users need beside it.

Classification, AVEL, AVVP, CML   tasks; `loader(task="avel")` names them
MaxPool, MeanPool, AttentionPool  scores a segment → scores a clip
localize                          distances between seconds → where the event is (A2V, V2A)
SegmentShuffle, moved             segments, exchanged within and across clips
parent_map, ancestor_mask, sum_to_level  a taxonomy as tensors, for hierarchical losses
metrics                           what each task is judged by (extra `metrics`)
"""

from shardkit.tasks.classification import Classification
from shardkit.tasks.cross_modality import CML, Localized, localize
from shardkit.tasks.event_localization import AVEL
from shardkit.tasks.hierarchy import ancestor_mask, parent_map, sum_to_level
from shardkit.tasks.names import task_of
from shardkit.tasks.pooling import AttentionPool, MaxPool, MeanPool
from shardkit.tasks.segment_shuffle import SegmentShuffle, moved
from shardkit.tasks.video_parsing import AVVP

__all__ = [
    "AVEL",
    "AVVP",
    "CML",
    "AttentionPool",
    "Classification",
    "Localized",
    "MaxPool",
    "MeanPool",
    "SegmentShuffle",
    "ancestor_mask",
    "localize",
    "moved",
    "parent_map",
    "sum_to_level",
    "task_of",
]
