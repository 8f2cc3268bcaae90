"""Many small CT series, each with values of its own: a phantom's, rolled."""

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from ctmahout.workflows.phantom import write_phantom


def write_many(folder, count, *, size=32, slices=4):
    """Write series 1 to `count` into folders of these names below folder/in; returns that folder."""
    files = sorted(write_phantom(folder / "phantom", size=size, slices=slices)["noisy"].iterdir())
    for number in range(1, count + 1):
        (folder / "in" / str(number)).mkdir(parents=True)
        uid = generate_uid(entropy_srcs=[str(number)])
        for at, file in enumerate(files):
            ds = pydicom.dcmread(file)
            ds.SeriesInstanceUID, ds.SeriesNumber = uid, number
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(at)])
            ds.PixelData = np.roll(ds.pixel_array, number, axis=1).tobytes()
            ds.save_as(folder / "in" / str(number) / file.name)
    return folder / "in"
