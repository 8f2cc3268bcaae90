"""Writes docs/inputs.md: what becomes of each awkward input.

``PYTHONPATH=python python tests/unit/inputs_page.py ../shared/data/ct > docs/inputs.md``, or ``make inputs``.
"""

import sys
import tempfile
from pathlib import Path

from awkward import CASES, Workspace
from dicom_slices import DERIVATION, WHEN, Slices, quietly

from ctmahout.dicom import read_series, write_series
from ctmahout.errors import CtmahoutError

ROWS = {
    1: "Encodings without loss",
    2: "Encodings with loss",
    3: "Encodings that nothing decodes",
    4: "A decoder that is not installed",
    5: "RLE in several fragments, no offset table",
    6: "A broken codestream",
    7: "JPEG 2000 whose sign or precision is not the header's",
    8: "Signed pixels with padding",
    9: "Padding declared as one value, stored as another",
    10: "Padding written with the wrong VR",
    11: "No padding declared",
    12: "Intercepts of all kinds",
    13: "Slope and intercept of each slice its own",
    14: "A slope or intercept that is none",
    15: "Modality LUT instead of slope and intercept",
    16: "RescaleType other than HU",
    17: "BitsStored, HighBit and the bits above",
    18: "BitsStored that varies in a series",
    19: "Images of other kinds among the slices",
    20: "Localizers among the slices",
    21: "Two orientations in one series",
    22: "Reformats and other derived images",
    23: "Two sizes or spacings in one series",
    24: "A tilted gantry",
    25: "Uneven steps, varying thickness",
    26: "Missing slices",
    27: "Repeated slices",
    28: "File names and instance numbers in any order",
    29: "FrameOfReferenceUID per slice, or none",
    30: "Identifiers absent",
    31: "ImageType absent or incomplete",
    32: "Type 2 attributes absent",
    33: "Positions and spacings that are none",
    34: "Orientations that are none",
    35: "Several series, studies or patients in one folder",
    36: "Folders as they are found, archives",
    37: "Damaged files",
    38: "Files without preamble",
    39: "Oddities of the encoding",
    40: "Enhanced and Legacy Converted Enhanced CT",
    41: "Frames in a single-frame image",
    42: "MONOCHROME1",
    43: "Other modalities, CT without pixels",
    44: "One slice, two slices, fewer than components asked for",
    45: "Sizes of all kinds",
    46: "Slices that are constant or all padding",
    47: "Values beyond the stored range",
    48: "Texts in other scripts",
    49: "Series numbers at their limits",
    50: "Outputs that cannot be written",
    51: "Sources that change or vanish",
    52: "Large series in little memory",
    53: "Spark with other partitions, or tasks done twice",
    54: "Our own output as input",
    55: "Long and odd paths",
}

# What no folder alone shows: outcome, and the test that shows it.
TOLD = [
    (4, "the package of a decoder is not there", "refused before any pixel is read, naming what to install"),
    (44, "one slice, to be denoised", "refused `CTM_INPUT_TOO_SMALL`"),
    (44, "more components asked for than there are slices", "refused `CTM_RANK_RANGE`"),
    (46, "all voxels alike, to be denoised", "given back as they are, all values finite"),
    (46, "all voxels padding, to be denoised", "refused `CTM_INPUT_TOO_SMALL`"),
    (
        47,
        "a result below the lowest or above the highest stored value",
        "BitsStored becomes 16, unsigned becomes signed where it must; what does not fit even then is clipped, counted "
        "and told",
    ),
    (
        50,
        "the output exists, lies in the input or cannot be written, the disk is full, the run is killed",
        "refused by `CTM_OUTPUT_EXISTS`, `CTM_OUTPUT_IS_INPUT` or `CTM_OUTPUT_UNWRITABLE`; nothing is left, what was "
        "there stays, a rerun gives the same identifiers",
    ),
    (51, "a file changes or vanishes between reading and writing", "refused `CTM_SOURCE_CHANGED`"),
    (52, "304 slices of 512 x 512", "read and written within 1 GiB"),
    (53, "1, 2 or 8 partitions", "the same bytes"),
]


def outcome(path, out, *, lenient):
    """Return what reading and writing a folder tells, without its path."""
    try:
        volume = read_series(path, lenient=lenient)
        written = write_series(volume, out, derivation=DERIVATION, timestamp=WHEN)
    except CtmahoutError as e:
        return f"refused `{e.code}`: {e.message}".replace(str(path) + "/", "").replace(str(path), path.name)
    told = dict.fromkeys([*volume.warnings, *written.warnings])
    return " ".join([f"read, {len(volume.hu)} slices." if len(volume.hu) > 1 else "read.", *told])


def outcomes(data, folder):
    """Return (row, what, outcome, outcome with --lenient) of every case."""
    slices = Slices(data / "chest_pair_sharp_B70f" / "1-12.dcm")
    found = []
    for number, (row, what, make) in enumerate(CASES):
        place = folder / f"{number:03d}"
        place.mkdir()
        path = quietly(make, Workspace(data, place, slices))
        strict, lenient = (outcome(path, place / f"out-{lenient}", lenient=lenient) for lenient in (False, True))
        found.append((row, what, strict, lenient))
    return found


def page(found):
    """Return docs/inputs.md."""
    lines = [
        "# Awkward inputs, and what happens",
        "",
        "Made by `tests/unit/inputs_page.py`, which reads each of these inputs and writes it; a test keeps it so.",
        "A row is a kind of input that real archives hold or that files decay into. What is only told is a warning in",
        "the run's report and on the command line; what is refused ends with exit code 3 and writes nothing.",
        "",
        "| row | input | by default | with `--lenient` |",
        "|---|---|---|---|",
    ]
    for row, title in ROWS.items():
        lines.append(f"| {row} | **{title}** | | |")
        for _, what, strict, lenient in [f for f in found if f[0] == row]:
            same = "the same" if lenient == strict else lenient
            lines.append(f"| | {what} | {_cell(strict)} | {_cell(same)} |")
        lines += [f"| | {what} | {_cell(told)} | |" for r, what, told in TOLD if r == row]
    return "\n".join(lines) + "\n"


def _cell(told):
    return told.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write(page(outcomes(Path(sys.argv[1]), Path(scratch))))
