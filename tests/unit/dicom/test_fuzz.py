"""A short run of the fuzzer, always of the same cases; `fuzz.py` by hand runs as many as one likes."""

from fuzz import run


def test_spoilt_files_are_read_as_they_say_or_refused(ct_data):
    outcomes, faults = run(ct_data, cases=600, seed=1, jobs=2)
    assert faults == []
    assert sum(outcomes.values()) == 600
    # Among them are files that are still sound, and each kind of refusal: else the fuzzer does nothing.
    assert outcomes["read"] > 30
    assert {"CTM_INPUT_UNREADABLE", "CTM_PIXELS_UNREADABLE", "CTM_ATTRIBUTE_INVALID"} <= set(outcomes)
