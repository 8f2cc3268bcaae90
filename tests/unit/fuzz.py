"""Spoilt files through reader and writer: each is read as it says, or refused by a code; nothing else may happen.

``PYTHONPATH=python python tests/unit/fuzz.py ../shared/data/ct --cases 20000`` tells of each case that went wrong by
its number; ``--only NUMBER`` runs it again.
"""

import argparse
import faulthandler
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from dicom_slices import DERIVATION, PATIENT, WHEN, Slices, enhanced, quietly
from mutations import mutated

from ctmahout.dicom import read_series, summarise, write_series
from ctmahout.errors import CtmahoutError

TIMEOUT_S = 60
# So many of the first sound files are slices of one series, which has three more.
NEIGHBOURLY = 6
# Beside what a file says that it holds: pydicom's own, decoders' tables, one slice in float64.
SLACK = 96 << 20
_SYNTAXES = {
    "rle": "1.2.840.10008.1.2.5",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "j2k": "1.2.840.10008.1.2.4.90",
    "deflated": "1.2.840.10008.1.2.1.99",
    "implicit": "1.2.840.10008.1.2",
}


def seeds(data, folder):
    """Write sound files of every kind; return them, and the slices of the series that the first of them are of."""
    slices = Slices(data / "chest_pair_sharp_B70f" / "1-12.dcm", 40)
    plain = sorted(slices.write(folder / "plain").iterdir())
    files = [plain[0]]
    for name, syntax in _SYNTAXES.items():
        ds = slices.slice(0)
        if name in ("rle", "jpegls", "j2k"):
            ds.compress(syntax, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        files.append(folder / f"{name}.dcm")
    files.append(enhanced(slices, folder / "enhanced.dcm", 3))
    files.append(enhanced(slices, folder / "legacy.dcm", 3, legacy=True, syntax=_SYNTAXES["jpegls"]))
    found = ("JPEGProcess14SV1", "JPEGProcess1T")
    for name in found:
        files += (data / "same_image_all_transfer_syntaxes").glob(f"*{name}*")
    files += (data / "pydicom_zoo").glob("bad_sequence.dcm")
    files += (data / "pydicom_zoo").glob("CT_small.dcm")
    for name in ("lowdose_pet_ct_STS_003", "legacy_converted_enhanced"):
        files += sorted((data / name).glob("*"))[:1]
    return [file.read_bytes() for file in files], [file.read_bytes() for file in plain]


def one(number, seed, files, neighbours, folder):
    """Run a case; return what became of it. Raises AssertionError, or whatever must not be raised."""
    random = np.random.default_rng([seed, number])
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    file = folder / "in" / "x.dcm"
    chosen = int(random.integers(len(files)))
    file.write_bytes(mutated(files[chosen], random))
    before = file.read_bytes()
    if chosen < NEIGHBOURLY and random.random() < 0.5:  # a series, of which one slice is spoilt
        for i in (1, 2, 3):
            (folder / "in" / f"{i}.dcm").write_bytes(neighbours[i])
    lenient = bool(random.random() < 0.5)
    low = peak()
    volume = error = None
    try:
        summarise(folder / "in", lenient=lenient)
        volume = read_series(folder / "in", lenient=lenient)
        write_series(volume, folder / "out", derivation=DERIVATION, timestamp=WHEN)
    except CtmahoutError as e:
        error = e
    grown = peak() - low
    if volume is not None:
        for z in range(len(volume.hu)):
            verify(volume, z)
    if error is None:
        verify_written(volume, folder / "out")
        result = "read" if not volume.warnings else "read with a warning"
    else:
        assert not any(secret in str(error) for secret in PATIENT.values()), (
            "the error names the patient: " + str(error)[:1000]
        )
        assert not (folder / "out").exists(), "half an output was left"
        assert error.code != "CTM_OUTPUT_UNWRITABLE", "the output is to blame for the input"
        result = error.code
    assert file.read_bytes() == before, "the input was changed"
    # Twice what the file says that it holds, and it says so only where it can be read.
    assert grown <= SLACK + 2 * max(declared(file), len(before)), f"{grown >> 20} MiB"
    return result


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def declared(file):
    try:
        ds = quietly(pydicom.dcmread, file, force=True, stop_before_pixels=True)
        return int(ds.Rows) * int(ds.Columns) * int(ds.get("NumberOfFrames") or 1) * 2
    except Exception:
        return 0


def verify(volume, z):
    """What was read is what pydicom reads, rescaled as the file says and placed where it says."""
    header = volume.source.slices[z]
    whole = quietly(lambda: pydicom.dcmread(header.path, force=header.without_preamble))
    assert np.isfinite(volume.hu[z]).all(), "values that are not finite"
    said = whole if header.frame is None else _of_frame(whole, header.frame)
    place = [float(v) for v in said.ImagePositionPatient]
    assert np.isfinite(place).all(), "a place that is not finite"
    assert volume.geometry.positions_mm[z].tolist() == place, "another place"
    if header.has_overlay_in_pixels or any("bits above" in w for w in volume.warnings):
        return
    if "SamplesPerPixel" not in whole:  # MONOCHROME2 says it
        whole.SamplesPerPixel = 1
    plane = quietly(pydicom.pixels.pixel_array, whole, index=header.frame)
    hu = plane * float(said.RescaleSlope) + float(said.RescaleIntercept)
    assert np.array_equal(volume.hu[z], hu.astype(np.float32)), "other values than pydicom's"


def _of_frame(whole, index):
    said = pydicom.Dataset()
    for group in (
        *(whole.get("SharedFunctionalGroupsSequence") or [])[:1],
        whole.PerFrameFunctionalGroupsSequence[index],
    ):
        for macro in ("PlanePositionSequence", "PixelValueTransformationSequence"):
            for item in (group.get(macro) or [])[:1]:
                said.update(item)
    return said


def verify_written(volume, out):
    again = read_series(out, lenient=True)  # what was doubtful of the source still is
    assert np.array_equal(again.hu, volume.hu), "written with other values"
    assert np.array_equal(again.geometry.positions_mm, volume.geometry.positions_mm), "written to another place"


def worker(pipe, data, seed, only):
    """Run the cases that come through the pipe."""
    faulthandler.enable()
    sys.stderr = open(os.devnull, "w") if only is None else sys.stderr  # noqa: PTH123, SIM115
    with tempfile.TemporaryDirectory(prefix="ctmahout-fuzz-") as scratch:
        folder = Path(scratch)
        (folder / "seeds").mkdir()
        files, neighbours = quietly(seeds, Path(data), folder / "seeds")
        pipe.send(("ready", None))
        while (number := pipe.recv()) is not None:
            try:
                pipe.send(("ok", one(number, seed, files, neighbours, folder / "case")))
            except BaseException:
                pipe.send(("wrong", traceback.format_exc()))


def run(data, *, cases, seed, jobs, first=0, only=None):
    """Run the cases in processes of their own, as a decoder may take its process with it; return counts and faults."""
    numbers = iter([only] if only is not None else range(first, first + cases))
    outcomes, faults = Counter(), []
    running = {}

    def start():
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=worker, args=(theirs, str(data), seed, only), daemon=True
        )
        process.start()
        theirs.close()
        running[mine] = [process, None, time.monotonic()]

    for _ in range(jobs):
        start()
    done = False
    while running:
        for pipe in multiprocessing.connection.wait(list(running), timeout=1):
            process, number, _ = running[pipe]
            try:
                kind, text = pipe.recv()
            except EOFError:
                process.join()
                faults.append((number, f"the process ended with code {process.exitcode}"))
                del running[pipe]
                if not done and number is not None:
                    start()
                continue
            if kind == "wrong":
                faults.append((number, text))
            elif kind == "ok":
                outcomes[text] += 1
            number = next(numbers, None)
            done = done or number is None
            pipe.send(number)
            running[pipe][1:] = [number, time.monotonic()]
            if number is None:
                process.join()
                del running[pipe]
        for pipe, (process, number, since) in list(running.items()):
            if number is not None and time.monotonic() - since > TIMEOUT_S:
                process.kill()
                process.join()
                faults.append((number, f"it hangs for more than {TIMEOUT_S} s"))
                del running[pipe]
                start()
    return outcomes, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    start = time.monotonic()
    outcomes, faults = run(
        given.data, cases=given.cases, seed=given.seed, jobs=given.jobs, first=given.first, only=given.only
    )
    for number, text in faults:
        sys.stdout.write(f"case {number}: {text}\n")
    for outcome, count in outcomes.most_common():
        sys.stdout.write(f"{count:7} {outcome}\n")
    sys.stdout.write(f"{sum(outcomes.values())} cases, {len(faults)} wrong, {time.monotonic() - start:.0f} s\n")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
