"""The loader's state in checkpoints of torch.distributed.checkpoint, as FSDP's scripts write them."""

import pytest
from small_loaders import small_loader
from torch.distributed import checkpoint


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning")
def test_a_loader_is_saved_and_loaded_as_a_part_of_the_training_state(packed, tmp_path):
    """save() and load() take the loader itself, which then stands where the saved one stood."""
    with small_loader(packed) as saved, small_loader(packed) as loaded:
        for _ in zip(range(3), saved, strict=False):
            pass
        checkpoint.save({"loader": saved}, checkpoint_id=tmp_path, no_dist=True)
        checkpoint.load({"loader": loaded}, checkpoint_id=tmp_path, no_dist=True)
        assert loaded.state_dict() == saved.state_dict()
        assert [batch.keys for batch in loaded] == [batch.keys for batch in saved][3:]
