from __future__ import annotations

from pipeline.errors import DamagedError, DivergedError, InputError, StoreError, says_status


def test_what_a_job_prints_as_one_line_is_an_input_error() -> None:
    for error in (DamagedError, DivergedError, StoreError):
        assert issubclass(error, InputError)
    assert not issubclass(DamagedError, DivergedError)
    assert issubclass(StoreError, OSError)
    assert issubclass(InputError, ValueError)
    assert str(InputError("lower --seq_len")) == "lower --seq_len"


def test_a_status_is_not_a_port_that_holds_it() -> None:
    assert says_status("failed with error code 401", 401, 403)
    assert says_status("HTTP/1.1 403: forbidden", 401, 403)
    assert not says_status("http://127.0.0.1:51401 refused the connection", 401, 403)
    assert not says_status("http://127.0.0.1:40300 refused the connection", 401, 403)
    assert not says_status("http://127.0.0.1:403 refused the connection", 401, 403)
    assert not says_status("failed with error code 404", 401, 403)
