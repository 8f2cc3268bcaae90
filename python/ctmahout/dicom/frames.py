"""Multi-frame CT as single frames: Enhanced and Legacy Converted Enhanced CT (PS3.3 A.38, A.70).

What functional groups say of a frame is put where a single-frame image has it, so that everything else here knows
single-frame images only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.tag import Tag
from pydicom.uid import UID

from .pixel_format import text_of

__all__ = ["MULTIFRAME", "forgetting", "frame_of", "frames_of", "kept_whole", "sop_class_of"]

MULTIFRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}

# Functional group macros (PS3.3 C.7.6.16.2, C.8.15.3), and what single-frame CT calls what they hold.
_RAISED: dict[str, dict[str, str]] = {
    "PixelMeasuresSequence": {"PixelSpacing": "", "SliceThickness": "", "SpacingBetweenSlices": ""},
    "PlanePositionSequence": {"ImagePositionPatient": ""},
    "PlaneOrientationSequence": {"ImageOrientationPatient": ""},
    "PixelValueTransformationSequence": {"RescaleSlope": "", "RescaleIntercept": "", "RescaleType": ""},
    "FrameVOILUTSequence": {"WindowCenter": "", "WindowWidth": "", "WindowCenterWidthExplanation": ""},
    "CTImageFrameTypeSequence": {"FrameType": "ImageType", "PixelPresentation": ""},
    "CTReconstructionSequence": {"ConvolutionKernel": "", "ReconstructionDiameter": ""},
    "CTAcquisitionDetailsSequence": {"TableHeight": "", "GantryDetectorTilt": "", "RotationDirection": ""},
    "CTXRayDetailsSequence": {"KVP": "", "FilterType": "", "FocalSpots": ""},
    "FrameAnatomySequence": {"AnatomicRegionSequence": ""},
    "CardiacSynchronizationSequence": {"NominalPercentageOfCardiacPhase": "", "NominalCardiacTriggerDelayTime": ""},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": ""},
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "StackID": "",
    },
}
# Whatever a converter found no other place for (PS3.3 C.7.6.16.2.25, .26).
_ALL_RAISED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
# Say how frames are organised, or what the values of all of them mean together; nothing of it holds for one image.
_OF_THE_WHOLE = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionOrganizationType",
    "DimensionIndexSequence",
    "NumberOfFrames",
    "ConcatenationUID",
    "ConcatenationFrameOffsetNumber",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "SOPInstanceUIDOfConcatenationSource",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


def sop_class_of(ds: FileDataset) -> str:
    """Return SOPClassUID, or what the file's meta information says."""
    return text_of(ds, "SOPClassUID") or text_of(ds.file_meta, "MediaStorageSOPClassUID")


def frames_of(ds: FileDataset) -> int:
    """Return how many frames a multi-frame image says it has; one if it does not."""
    return int(ds.get("NumberOfFrames") or 1)


def frame_of(ds: FileDataset, index: int) -> FileDataset:
    """Return one frame of a multi-frame image as a single-frame one, its pixels with it if `ds` has them.

    Raises
    ------
    IndexError
        There is no such frame, or nothing that says where it lies.
    """
    groups = ds.get("PerFrameFunctionalGroupsSequence") or []
    if not 0 <= index < len(groups):
        raise IndexError(f"{len(groups)} of {frames_of(ds)} frames have functional groups")
    dropped = {Tag(keyword) for keyword in _OF_THE_WHOLE}
    elements = {tag: ds.get_item(tag) for tag in list(ds.keys()) if tag not in dropped}  # undecoded
    frame = FileDataset(
        None,
        elements,
        file_meta=ds.file_meta,
        is_implicit_VR=ds.original_encoding[0] is not False,
        is_little_endian=ds.original_encoding[1] is not False,
    )
    frame.set_original_encoding(*ds.original_encoding, ds.original_character_set)
    frame.InstanceNumber = index + 1
    # The frame's own word is the last.
    for group in [*(ds.get("SharedFunctionalGroupsSequence") or [])[:1], groups[index]]:
        _raise(group, frame)
    if "PixelData" in ds:
        frame.PixelData = _pixels(ds, index)
        frame["PixelData"].VR = ds["PixelData"].VR
        frame["PixelData"].is_undefined_length = ds["PixelData"].is_undefined_length
    return frame


def _raise(group: Dataset, frame: FileDataset) -> None:
    for macro, names in _RAISED.items():
        for item in (group.get(macro) or [])[:1]:
            for keyword, new in names.items():
                if keyword in item:
                    setattr(frame, new or keyword, item[keyword].value)
    for macro in _ALL_RAISED:
        for item in (group.get(macro) or [])[:1]:
            for tag in list(item.keys()):
                frame[tag] = item[tag]


def _pixels(ds: FileDataset, index: int) -> bytes:
    frames = frames_of(ds)
    if UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
        return bytes(encapsulate([get_frame(ds.PixelData, index, number_of_frames=frames)], has_bot=False))
    size = ds.Rows * ds.Columns * ds.BitsAllocated // 8
    return bytes(ds.PixelData[index * size : (index + 1) * size])


_lock = threading.Lock()
_whole: dict[object, FileDataset] = {}


def kept_whole(key: object, read: Callable[[], FileDataset]) -> FileDataset:
    """Return a multi-frame image that is needed frame by frame: the last one stays in memory."""
    with _lock:
        if key not in _whole:
            _whole.clear()
            _whole[key] = read()
        return _whole[key]


@contextmanager
def forgetting() -> Iterator[None]:
    """Let go of the multi-frame image that was kept, when all of its frames are done with."""
    try:
        yield
    finally:
        with _lock:
            _whole.clear()
