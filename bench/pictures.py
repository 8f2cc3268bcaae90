"""Draw what a run does to a head, a chest and an abdomen: ``make pictures``.

Each picture has the source, the result and the residual at a narrow and a wide window, and the share of the noise that
was removed by place. The head is simulated. The chest is from Lung-PET-CT-Dx of The Cancer Imaging Archive (CC BY 4.0),
the abdomen from the examples of TotalSegmentator (Apache-2.0); both are drawn only where the real series are.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import DATA, cases
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from methods import ours
from numpy.typing import NDArray
from page import DOCS
from scipy import ndimage

from ctmahout import Volume
from ctmahout.report import noise_removed_by_region


@dataclass(frozen=True)
class Shown:
    """A series, the slice to show as a share of its height, and the windows as (width, centre) in HU."""

    name: str
    title: str
    height: float
    windows: tuple[tuple[float, float], ...]


SHOWN = {
    "head": Shown("head", "simulated head", 0.5, ((70.0, 35.0), (400.0, 40.0))),
    "chest": Shown("chest_pair_sharp_B70f", "chest, sharp kernel", 0.5, ((70.0, 40.0), (400.0, 40.0))),
    "abdomen": Shown("j2k_series_no_sopclass", "abdomen", 0.5, ((70.0, 110.0), (400.0, 40.0))),
}
# The residual is shown at four times the contrast of the narrow window at least.
_RESIDUAL_HU = 4.0
_AIR_HU = -300.0
_INCH, _DPI = 2.3, 100


def draw(shown: Shown, before: Volume, after: Volume) -> Figure:
    """Return the picture of one slice: a row for each window, and the map of the share removed."""
    z = round(shown.height * (len(before.hu) - 1))
    body = _body(before.hu[z])
    was, became = (volume.hu[z][body] for volume in (before, after))
    rows, columns = len(shown.windows), 4
    figure = Figure(figsize=(columns * _INCH, rows * _INCH * was.shape[0] / was.shape[1] + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, (width, centre) in zip(axes, shown.windows, strict=True):
        limit = max(width / 2, _RESIDUAL_HU * float(np.std(was - became)))
        pictures = (
            (f"{shown.title}, W{width:.0f}", was, centre - width / 2, centre + width / 2),
            ("denoised", became, centre - width / 2, centre + width / 2),
            (f"residual, \u00b1{limit:.0f} HU", was - became, -limit, limit),
        )
        for axis, (title, hu, low, high) in zip(row, pictures, strict=False):
            axis.imshow(hu, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set_title(title, fontsize=7)
        for axis in row:
            axis.set_axis_off()
    cells = noise_removed_by_region(before, after).cells
    for axis, third, name in zip(axes[:, 3], (1, 2), ("middle", "last"), strict=False):
        drawn = axis.imshow(100 * cells[third], cmap="viridis", vmin=0, vmax=100)
        axis.set_title(f"noise removed, %, {name} third", fontsize=7)
    figure.colorbar(drawn, ax=axes[:, 3], shrink=0.6).ax.tick_params(labelsize=6)
    return figure


def _body(slice_hu: NDArray[np.float32]) -> tuple[slice, slice]:
    """Return the rows and columns around the largest object of a slice: the body, and not the table."""
    labels, _ = ndimage.label(ndimage.binary_opening(slice_hu > _AIR_HU, iterations=3))
    y, x = np.nonzero(labels == np.bincount(labels[labels > 0]).argmax())
    return slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SHOWN)}; all if not given")
    parser.add_argument("--real", type=Path, default=DATA, metavar="FOLDER", help="where the real series are")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where simulated scans are kept")
    parser.add_argument("--out", type=Path, default=DOCS / "pictures", metavar="FOLDER")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    real = options.real if options.real.is_dir() else None
    run = ours(strengths=("auto",), method="patches", effort="normal", engine="numpy", algorithm="exact")
    for name in options.names or SHOWN:
        for case in cases([SHOWN[name].name], real, quick=False, cache=options.cache):
            (after,) = run(case.volume)
            file = options.out / f"{name}.png"
            draw(SHOWN[name], case.volume, after).savefig(file, dpi=_DPI)
            print(file)


if __name__ == "__main__":
    main()
