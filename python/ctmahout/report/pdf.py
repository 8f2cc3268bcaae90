"""The report on paper: its measurements and pictures in, a PDF out; needs the extra ``dicom-report``.

The same input gives the same bytes. It has neither the times of the run nor anything about the patient.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from ..dicom.documents import QUANTITIES, SITES, Measurement
from .pictures import Picture, ReportSlice

__all__ = ["measurements", "write_pdf"]

_MARGIN = 42.0  # points
_UNITS = {"[hnsf'U]": "HU", "%": "%", "1": ""}


def measurements(numbers: Mapping[str, Any]) -> list[Measurement]:
    """Return the main measurements of a series, ``before`` or one of ``after`` in the result of `report_numbers`."""
    by_tissue = {
        "Noise SD": numbers["noise_sd_hu"],
        "Mean": numbers["mean_hu"],
        "Shift of the mean": numbers.get("mean_shift_hu", {}),
        "Shift near borders": numbers.get("border_shift_hu", {}),
        "Residual and structure": {
            tissue: max((v for v in bands.values() if v is not None), default=None)
            for tissue, bands in numbers.get("structure_in_residual", {}).items()
        },
    }
    taken = numbers.get("noise_taken")
    whole = {
        "Sharpness of edges": numbers.get("edge_sharpness", {}).get("strong"),
        "Residual and edges": numbers.get("anatomy_in_residual"),
    }
    values = [(name, value, tissue) for name, part in by_tissue.items() for tissue, value in part.items()]
    values.append(("Noise removed", None if taken is None else round(100 * taken, 2), "soft"))
    values += [(name, value, "") for name, value in whole.items()]
    return [Measurement(*one) for one in values if one[1] is not None]


def write_pdf(
    *,
    summary: str,
    warnings: Sequence[str],
    before: Sequence[Measurement],
    after: Mapping[str, Sequence[Measurement]],
    slices: Mapping[str, Sequence[ReportSlice]],
    proportion: float,
    plots: Sequence[Picture],
) -> bytes:
    """Return the report as a PDF file.

    Parameters
    ----------
    summary : str
        What the series was and how it was denoised.
    warnings : sequence of str
    before : sequence of Measurement
        Of the source.
    after, slices : mapping of str to sequence
        Measurements and pictures of slices for each strength.
    proportion : float
        Width of a slice over its height.
    plots : sequence of Picture
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

    styles = getSampleStyleSheet()
    width = A4[0] - 2 * _MARGIN

    def text(words: str, style: str = "BodyText") -> Any:
        return Paragraph(escape(words), styles[style])

    def picture(one: Picture, size: float, shape: float | None = None) -> Any:
        image = Image(io.BytesIO(one.content))
        image.drawWidth, image.drawHeight = size, size / (shape or image.imageWidth / image.imageHeight)
        return image

    def row(pictures: Sequence[Picture], caption: str) -> Any:
        table = Table(
            [[picture(one, width / 3 - 4, proportion) for one in pictures]], colWidths=[width / 3] * 3, style=_PLAIN
        )
        return KeepTogether([table, text(caption), Spacer(1, 6)])

    parts = [
        text("ctmahout report", "Title"),
        text(
            "Intended use: research. Not a medical device; not for diagnosis. The source images remain authoritative."
        ),
        text(summary),
        *(text(f"Warning: {warning}") for warning in warnings),
        text("Measurements", "Heading2"),
        Table(
            [[Paragraph(escape(cell), styles["BodyText"]) for cell in line] for line in _lines(before, after)],
            colWidths=[width * share for share in (0.3, *[0.7 / (1 + len(SITES))] * (1 + len(SITES)))],
            style=_RULED,
            repeatRows=1,
        ),
    ]
    for strength, chosen in slices.items():
        parts.append(text(f"Before, after and residual: {strength}", "Heading2"))
        for one in chosen:
            parts += [
                row(
                    r.pictures,
                    f"Slice {one.slice} of {one.slices}, {r.window.name}; residual ± {r.window.residual:.0f} HU",
                )
                for r in one.rows
            ]
    parts += [KeepTogether([picture(plot, width), text(plot.alt), Spacer(1, 6)]) for plot in plots]
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title="ctmahout report",
        author="ctmahout",
        invariant=1,
    )
    document.build(parts)
    return buffer.getvalue()


_PLAIN = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)]
_RULED = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.25, "#b0b0b0"),
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
]


def _lines(before: Sequence[Measurement], after: Mapping[str, Sequence[Measurement]]) -> Iterator[list[str]]:
    """Yield the cells of the table: a row for each quantity of each series, a column for each tissue."""
    yield ["", "whole image", *(code.meaning for code in SITES.values())]
    for name, measured in {"before": before, **after}.items():
        for quantity, (_, unit, _) in QUANTITIES.items():
            values = {one.tissue: one.value for one in measured if one.quantity == quantity}
            if values:
                words = f"{name}: {quantity}" + (f", {_UNITS[unit.value]}" if _UNITS[unit.value] else "")
                yield [words, *(f"{values[t]:.2f}" if t in values else "" for t in ("", *SITES))]
