"""Multi-frame CT as single frames: Enhanced and Legacy Converted Enhanced CT (PS3.3 A.38, A.70).

The attributes in a frame's functional groups move to where a single-frame image has them, so that all other modules
handle single-frame images only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.tag import Tag
from pydicom.uid import UID

from .pixel_format import text_of

__all__ = ["MULTIFRAME", "FrameCache", "frame_count", "frame_of", "sop_class_of"]

MULTIFRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
}

# Functional group macros (PS3.3 C.7.6.16.2, C.8.15.3): their attributes, and the names of these in single-frame CT
# where they differ.
_MACROS: dict[str, dict[str, str]] = {
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
# Macros whose attributes keep their names, whichever they are (PS3.3 C.7.6.16.2.25, .26).
_CONVERTED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
# Describe the organisation of frames; meaningless in a single-frame image.
_MULTIFRAME_ONLY = (
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
    """Return SOPClassUID or, if it is absent, MediaStorageSOPClassUID of the file meta information."""
    return text_of(ds, "SOPClassUID") or text_of(ds.file_meta, "MediaStorageSOPClassUID")


def frame_count(ds: FileDataset) -> int:
    """Return NumberOfFrames; 1 if it is absent."""
    return int(ds.get("NumberOfFrames") or 1)


def frame_of(ds: FileDataset, index: int) -> FileDataset:
    """Return one frame of a multi-frame image as a single-frame image, with its pixels if `ds` has them.

    Raises
    ------
    IndexError
        The frame has no functional groups.
    """
    groups = ds.get("PerFrameFunctionalGroupsSequence") or []
    if not 0 <= index < len(groups):
        raise IndexError(f"{len(groups)} of {frame_count(ds)} frames have functional groups")
    excluded = {Tag(keyword) for keyword in _MULTIFRAME_ONLY}
    elements = {tag: ds.get_item(tag) for tag in list(ds.keys()) if tag not in excluded}  # undecoded
    frame = FileDataset(
        None,
        elements,
        file_meta=ds.file_meta,
        is_implicit_VR=ds.original_encoding[0] is not False,
        is_little_endian=ds.original_encoding[1] is not False,
    )
    frame.set_original_encoding(*ds.original_encoding, ds.original_character_set)
    frame.InstanceNumber = index + 1
    # A frame's own groups override the shared ones.
    for group in [*(ds.get("SharedFunctionalGroupsSequence") or [])[:1], groups[index]]:
        _copy_macros(group, frame)
    if "PixelData" in ds:
        frame.PixelData = _pixels(ds, index)
        frame["PixelData"].VR = ds["PixelData"].VR
        frame["PixelData"].is_undefined_length = ds["PixelData"].is_undefined_length
    return frame


def _copy_macros(group: Dataset, frame: FileDataset) -> None:
    for macro, names in _MACROS.items():
        for item in (group.get(macro) or [])[:1]:
            for keyword, single_frame_keyword in names.items():
                if keyword in item:
                    setattr(frame, single_frame_keyword or keyword, item[keyword].value)
    for macro in _CONVERTED:
        for item in (group.get(macro) or [])[:1]:
            for tag in list(item.keys()):
                frame[tag] = item[tag]


def _pixels(ds: FileDataset, index: int) -> bytes:
    frames = frame_count(ds)
    if UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
        return bytes(encapsulate([get_frame(ds.PixelData, index, number_of_frames=frames)], has_bot=False))
    size = ds.Rows * ds.Columns * ds.BitsAllocated // 8
    return bytes(ds.PixelData[index * size : (index + 1) * size])


class FrameCache:
    """The multi-frame file last read, so that a file is not read again for each of its frames. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._dataset: FileDataset | None = None

    def get(self, key: object, read: Callable[[], FileDataset]) -> FileDataset:
        """Return the dataset of a key, from memory or by reading it."""
        with self._lock:
            if self._dataset is None or self._key != key:
                self._dataset = None  # freed before the next one is read
                self._key, self._dataset = key, read()
            return self._dataset
