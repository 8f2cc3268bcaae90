"""Reading that must be refused, or must not: and in both cases must name no patient."""

import pytest
from dicom_slices import DERIVATION, PATIENT

from ctmahout.dicom import read_series, summarise, write_series
from ctmahout.errors import CtmahoutError


def refused(path, **options):
    """Return the error of reading; nothing in it, nor in what inspect tells, is a patient's."""
    with pytest.raises(CtmahoutError) as e:
        read_series(path, **options)
    _no_patient(str(e.value), *find_doubts(path))
    return e.value


def not_written(volume, out, **options):
    """The code of what writing ends with, which names nobody and leaves everything as it was."""
    before = sorted(p for p in out.parent.rglob("*"))
    with pytest.raises(CtmahoutError) as e:
        write_series(volume, out, derivation=DERIVATION, **options)
    assert sorted(p for p in out.parent.rglob("*")) == before
    _no_patient(str(e.value))
    return e.value.code


def find_doubts(path):
    try:
        found = summarise(path)
    except CtmahoutError as e:
        return [str(e)]
    return [*found.unreadable, *(doubt for s in found for doubt in s.doubts)]


def _no_patient(*texts):
    for secret in PATIENT.values():
        for part in (secret, *secret.split("^")):
            assert not any(part in t for t in texts)


def accepted(path, says=None, **options):
    """Return the volume; what it is warned of holds `says`, and nothing of a patient or a path."""
    volume = read_series(path, **options)
    _no_patient(*volume.warnings)
    assert not any(str(path) in w for w in volume.warnings)
    if says is None:
        assert volume.warnings == ()
    else:
        assert any(says in w for w in volume.warnings), volume.warnings
    return volume
