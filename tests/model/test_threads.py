"""One thread for a while, and then as many as before."""

from __future__ import annotations

import pytest
import torch

from pipeline.model.threads import one_thread


@one_thread()
def failing() -> None:
    assert torch.get_num_threads() == 1
    raise ValueError("inside")


def test_the_number_of_threads_comes_back_whatever_happens() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="inside"):
            failing()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
