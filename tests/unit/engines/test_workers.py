"""The threads of this process, and those that products of matrices would start."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ctmahout.engines.workers import single_threaded_blas


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_overlapping_calls_have_one_blas_thread_each_and_leave_as_many_as_there_were():
    np.ones((2, 2)) @ np.ones((2, 2))  # BLAS is there
    first_in, first_out, second_in = threading.Event(), threading.Event(), threading.Event()
    seen = {}

    @single_threaded_blas
    def first():
        first_in.set()
        assert second_in.wait(30)
        seen["first"] = blas_threads()

    @single_threaded_blas
    def second():
        second_in.set()
        assert first_out.wait(30)
        seen["second"] = blas_threads()

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        one, two = threading.Thread(target=first), threading.Thread(target=second)
        one.start()
        assert first_in.wait(30)
        two.start()
        one.join()
        first_out.set()
        two.join()
        assert blas_threads() == before
    assert set(before) == {2}
    assert set(seen["first"]) == set(seen["second"]) == {1}


def test_a_call_that_fails_leaves_as_many_blas_threads_as_there_were():
    @single_threaded_blas
    def fails():
        raise KeyError

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        for _ in range(2):
            with pytest.raises(KeyError):
                fails()
        assert blas_threads() == before
