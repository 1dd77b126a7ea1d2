from __future__ import annotations

from pipeline.errors import DamagedError, DivergedError, InputError, StoreError


def test_what_a_job_prints_as_one_line_is_an_input_error() -> None:
    for error in (DamagedError, DivergedError, StoreError):
        assert issubclass(error, InputError)
    assert not issubclass(DamagedError, DivergedError)
    assert issubclass(StoreError, OSError)
    assert issubclass(InputError, ValueError)
    assert str(InputError("lower --seq_len")) == "lower --seq_len"
