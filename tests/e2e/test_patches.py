"""Method patches as a user runs it: the installed command, real series, real Spark and Mahout."""

import json
import os
import sys

import numpy as np
import pytest
from helpers import code_of, tree
from test_denoise import TIME, ctmahout, datasets, names_nobody, some_of

from ctmahout import denoise, factorise, prepare, reconstruct, refine
from ctmahout.dicom import read_series
from ctmahout.quality import FlatRegions, tissues

SMALL = "lowdose_pet_ct_STS_003"
SLICES = 10  # of its 51


@pytest.mark.spark
def test_steps_one_by_one_and_any_number_of_threads_give_the_same_bytes(ct_data, tmp_path, bucket):
    source = some_of(ct_data / SMALL, SLICES, tmp_path / "source")
    write = ["--strength", "auto", "--strength", "remove:50%", "--timestamp", TIME]
    done = ctmahout("denoise", source, tmp_path / "whole", *write, "--workers", 3)
    names_nobody(source, tmp_path / "whole", done.stderr)
    ctmahout("prepare", source, tmp_path / "matrix", "--workers", 1)
    ctmahout("dssvd", tmp_path / "matrix", tmp_path / "factors", "--partitions", 3)
    # One step on a store: nothing of it shows in the bytes.
    for name, folder in (("scan", source), ("matrix", tmp_path / "matrix"), ("factors", tmp_path / "factors")):
        bucket.upload(folder, name)
    ctmahout("refine", *map(bucket.uri, ("scan", "matrix", "factors", "refined")), "--workers", 2)
    bucket.download("refined", tmp_path / "refined")
    ctmahout("dssvd", tmp_path / "refined", tmp_path / "refined-factors")
    # The last step on a cluster: executors of their own that are sent slabs of the series.
    spread = ["--spread", "--master", "local-cluster[2,1,1200]"]
    made = (tmp_path / "refined", tmp_path / "refined-factors")
    ctmahout("reconstruct", source, *made, tmp_path / "steps", *write, *spread)
    elsewhere = {**os.environ, "PYSPARK_PYTHON": f"{sys.base_prefix}/bin/python3"}  # where there is no ctmahout
    spread = ["--spread", "--master", "local[2]"]
    done = ctmahout("reconstruct", source, *made, tmp_path / "none", *spread, code=5, env=elsewhere)
    assert "[CTM_EXECUTORS_LACK]" in done.stderr
    assert not (tmp_path / "none").exists()
    whole, steps = tree(tmp_path / "whole"), tree(tmp_path / "steps")
    images = [name for name in whole if name.endswith(".dcm")]
    assert len(images) == 2 * SLICES
    assert set(whole) == set(steps)
    for name in images:
        assert whole[name] == steps[name], name
    before, half, full = (
        read_series(folder).hu for folder in (source, tmp_path / "whole/remove-50", tmp_path / "whole/auto")
    )
    flat = FlatRegions.of(before, tissues(full)["soft"])
    assert flat.sd(full) < 0.3 * flat.sd(before)
    assert flat.sd(half) == pytest.approx(0.5 * flat.sd(before), rel=0.05)
    # What does not belong together is refused in this process: another would say the same, seconds later.
    refined, out = (tmp_path / "refined", tmp_path / "refined-factors"), tmp_path / "no"
    assert code_of(refine, source, *refined, out) == "CTM_NOTHING_TO_REFINE"
    assert code_of(reconstruct, source, tmp_path / "refined", tmp_path / "factors", out) == "CTM_FACTORS_MISMATCH"
    other = some_of(ct_data / "lowdose_pet_ct_STS_002", SLICES, tmp_path / "another")
    assert code_of(reconstruct, other, *refined, out) == "CTM_SERIES_MISMATCH"
    assert not out.exists()


@pytest.mark.parametrize("name", ["chest_pair_sharp_B70f", "j2k_series_no_sopclass"])
def test_a_real_series_loses_its_noise_and_nothing_else(real_ct, tmp_path, name):
    source = real_ct / name
    lenient = ["--lenient"] if name == "j2k_series_no_sopclass" else []
    ctmahout("denoise", source, tmp_path / "out", "--effort", "fast", "--engine", "numpy", "--maps", *lenient)
    assert len(datasets(tmp_path / "out/auto")) == len(datasets(source))
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["series"][0]["noise_removed"] > 0.4
    before, after = (read_series(folder, lenient=True) for folder in (source, tmp_path / "out/auto"))
    assert np.array_equal(before.geometry.positions_mm, after.geometry.positions_mm)
    assert abs(float((after.hu - before.hu).mean(dtype=np.float64))) < 0.5
    residual, noise = (read_series(tmp_path / "out" / name, lenient=True).hu for name in ("auto-residual", "noise"))
    inside = np.ones(before.shape, bool) if before.padding is None else ~before.padding
    assert np.abs(before.hu - after.hu - residual)[inside].max() <= 1  # both are rounded to stored values
    soft = FlatRegions.of(before.hu, tissues(after.hu)["soft"] & inside)
    assert np.median(noise[tuple(soft.corners.T)]) == pytest.approx(soft.sd(before.hu), rel=0.3)
    if before.padding is not None:
        assert np.array_equal(before.padding, after.padding)
        assert np.array_equal(before.hu[before.padding], after.hu[before.padding])


def test_three_thick_slices_keep_their_anatomy(ct_data, tmp_path):
    # What differs between slices 5 mm apart is anatomy nearly everywhere: ten times the noise.
    ctmahout("denoise", ct_data / "study_folder_localizer_sc", tmp_path / "out", "--engine", "numpy")
    run = json.loads((tmp_path / "out/run.json").read_text())
    told = run["numbers"]["after"]["auto"]
    assert told["anatomy_in_residual"] < run["numbers"]["limits"]["anatomy_in_residual"]
    assert 0.1 < told["noise_taken"] == pytest.approx(run["series"][0]["noise_removed"], abs=1e-3)
    assert not [w for w in run["warnings"] if w.startswith("auto: ")]


def test_one_slice_is_refused_and_a_damaged_stage_is_found(ct_data, tmp_path):
    one, source = (some_of(ct_data / SMALL, n, tmp_path / f"{n}") for n in (1, 6))
    assert code_of(denoise, one, tmp_path / "out", engine="numpy") == "CTM_INPUT_TOO_SMALL"
    prepare(source, tmp_path / "matrix", effort="fast")
    factorise(tmp_path / "matrix", tmp_path / "factors", engine="numpy")
    (part,) = (tmp_path / "matrix/arrays/telling_basis").glob("part-*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    done = ctmahout("reconstruct", source, tmp_path / "matrix", tmp_path / "factors", tmp_path / "out", code=4)
    assert "[CTM_EXCHANGE_C" in done.stderr
    assert not (tmp_path / "out").exists()
