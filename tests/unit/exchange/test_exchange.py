"""The exchange directories: round trips, streaming, refusals, damage, and output that is whole or not there."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import code_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ctmahout.errors import ExchangeError, InputError
from ctmahout.exchange import (
    Svd,
    checksum,
    is_exchange,
    read_factors,
    read_manifest,
    read_matrices,
    read_matrix,
    write_factors,
    write_matrix,
)

ABOUT = {"units": "1", "centring": "none", "layout": {}}


def matrix(m=40, n=7, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n)).astype(dtype)


def edit(path, **fields):
    file = path / "_ctmahout.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def as_version_1_0(path):
    """Make of a directory what version 1.0 would have written."""
    file = path / "_ctmahout.json"
    values = json.loads(file.read_text()) | {"exchange_version": "1.0"}
    del values["files"]
    file.write_text(json.dumps(values))


# ---------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_read_is_what_was_written(tmp_path, dtype):
    groups = [matrix(dtype=dtype, seed=i) for i in range(3)]
    made = write_matrix(tmp_path / "m", groups, dtype=dtype, units="HU", centring="columns", layout={"method": "x"})
    assert made == read_manifest(tmp_path / "m", "matrix")
    assert (made.units, made.centring, made.layout) == ("HU", "columns", {"method": "x"})
    for number, A in enumerate(groups):
        found = read_matrix(tmp_path / "m", number)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, A)
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_finite_matrix_in_any_pieces_and_any_order(data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    n = data.draw(st.integers(1, 5))
    m = data.draw(st.integers(n, 12))
    values = st.floats(allow_nan=False, allow_infinity=False, width=32 if dtype == np.float32 else 64)
    A = data.draw(hnp.arrays(dtype, (m, n), elements=values))
    order = np.array(data.draw(st.permutations(range(m))))
    cuts = sorted(data.draw(st.lists(st.integers(0, m), max_size=4)))
    pieces = [(rows, A[rows]) for rows in np.split(order, cuts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        made = write_matrix(path, [pieces], dtype=np.dtype(dtype).name, **ABOUT)
        found = read_matrix(path)
        assert found.tobytes() == A.tobytes()  # -0.0 stays -0.0
        assert made.groups[0].checksum == checksum(A)


def test_many_blocks_become_row_groups_of_8_mb_in_several_files(tmp_path):
    n, step = 256, 3000
    total = 90_000  # 92 MB

    def blocks():
        for start in range(0, total, step):
            rows = np.arange(start, min(start + step, total))
            yield rows, np.outer(rows, np.ones(n, np.float32)).astype(np.float32)

    write_matrix(tmp_path / "m", [blocks()], **ABOUT)
    files = sorted((tmp_path / "m").glob("part-*.parquet"))
    assert len(files) == 2
    sizes = [
        pq.ParquetFile(f).metadata.row_group(i).total_byte_size
        for f in files
        for i in range(pq.ParquetFile(f).metadata.num_row_groups)
    ]
    assert all(7 << 20 <= size <= 9 << 20 for size in sizes[:-1])
    column = pq.ParquetFile(files[0]).metadata.row_group(0).column(2)
    assert column.compression == "UNCOMPRESSED"
    assert not column.has_dictionary_page
    found = read_matrix(tmp_path / "m")
    np.testing.assert_array_equal(found[:, 0], np.arange(total, dtype=np.float32))
    np.testing.assert_array_equal(found[:, -1], np.arange(total, dtype=np.float32))


def test_small_groups_share_row_groups_and_a_large_one_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("ctmahout.exchange.parquet.ROW_GROUP_BYTES", 40_000)
    small, large = [matrix(30, 7, seed=i) for i in range(100)], matrix(5000, 7, seed=100)
    groups = [*small[:50], large, *small[50:]]
    buffer = np.empty((30, 7), np.float32)

    def filled(values):
        buffer[:] = values
        yield np.arange(30), buffer

    write_matrix(tmp_path / "m", [filled(A) if len(A) == 30 else A for A in groups], **ABOUT)
    (file,) = (tmp_path / "m").glob("part-*.parquet")
    row_groups = [pq.ParquetFile(file).read_row_group(i).column("group").to_numpy() for i in range(9)]
    held = [sorted(set(numbers.tolist())) for numbers in row_groups]
    assert pq.ParquetFile(file).metadata.num_row_groups == len(held)
    assert [numbers for numbers in held if 50 in numbers] == [[50]] * 5
    of_small = [number for numbers in held for number in numbers if number != 50]
    assert of_small == [*range(50), *range(51, 101)]  # in order, and cut nowhere
    # Read one after the other, each row group's values are read for its own groups alone.
    reads = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, i, columns: (reads.append((i, *columns)), read(self, i, columns))[1],
    )
    monkeypatch.setattr("ctmahout.exchange.matrices._READ_BYTES", 0)
    for number, values in read_matrices(tmp_path / "m", [50, 0, 100, 50]):
        np.testing.assert_array_equal(values, groups[number])
    of_large = [i for i, numbers in enumerate(held) if numbers == [50]]
    ends = [0, len(held) - 1]
    assert sorted(i for i, *columns in reads if "values" in columns) == sorted(of_large * 2 + ends)
    assert sum(i == ends[1] for i, column, *_ in reads if column == "group") == 2  # once for all, once to take its rows


def test_rows_of_several_groups_in_any_order_are_read(tmp_path):
    groups = [matrix(40, 3, seed=i) for i in range(4)]
    write_matrix(tmp_path / "m", groups, **ABOUT)
    file = tmp_path / "m" / "part-00000.parquet"
    table = pq.read_table(file)
    order = np.random.default_rng(0).permutation(160)
    pq.write_table(table.take(order), file, store_schema=False)
    for number, A in enumerate(groups):
        np.testing.assert_array_equal(read_matrix(tmp_path / "m", number), A)


def test_a_matrix_is_streamed_and_never_held_as_a_whole(tmp_path):
    script = """
import sys, numpy as np
from pathlib import Path
from ctmahout.exchange import write_matrix
def blocks():
    for start in range(0, 1_000_000, 10_000):
        yield np.arange(start, start + 10_000), np.full((10_000, 100), start, np.float32)   # 400 MB in all
write_matrix(sys.argv[1], [blocks()], units="1", centring="none", layout={})
# Not getrusage: its maximum begins with the memory of the process that this one was forked from.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 250_000  # KiB, of which Python, numpy and pyarrow take about 80,000


@pytest.mark.parametrize("at_once", [0, 2500, 1 << 20])  # a group alone, two groups, all
def test_groups_read_together_are_those_read_alone(tmp_path, monkeypatch, at_once):
    matrices = [matrix(seed=i) for i in range(5)]
    assert 2 * matrices[0].nbytes <= 2500 < 3 * matrices[0].nbytes
    write_matrix(tmp_path / "m", matrices, **ABOUT)
    monkeypatch.setattr("ctmahout.exchange.matrices._READ_BYTES", at_once)
    wanted = [4, 0, 3, 2]
    found = dict(read_matrices(tmp_path / "m", wanted))
    assert list(found) == wanted
    for number in wanted:
        np.testing.assert_array_equal(found[number], matrices[number])
    assert code_of(lambda: list(read_matrices(tmp_path / "m", [0, 7]))) == "CTM_EXCHANGE_GROUP_UNKNOWN"


def test_reading_is_of_one_group_only(tmp_path):
    write_matrix(tmp_path / "m", [matrix(seed=i) for i in range(3)], **ABOUT)
    np.testing.assert_array_equal(read_matrix(tmp_path / "m", 2), matrix(seed=2))
    assert code_of(read_matrix, tmp_path / "m", 3) == "CTM_EXCHANGE_GROUP_UNKNOWN"


def test_what_the_manifest_does_not_name_is_not_there(tmp_path):
    path = tmp_path / "m"
    made = write_matrix(path, [matrix()], **ABOUT)
    assert made.files == ("part-00000.parquet",)
    shutil.copy(path / "part-00000.parquet", path / "part-00001.parquet")
    (path / "part-00002.parquet").write_text("cut off")
    np.testing.assert_array_equal(read_matrix(path), matrix())
    # A reader of version 1.0 takes what is there. It may refuse such a directory, but never returns other numbers.
    as_version_1_0(path)
    assert code_of(read_matrix, path) == "CTM_EXCHANGE_CORRUPT"
    (path / "part-00002.parquet").unlink()
    assert code_of(read_matrix, path) == "CTM_EXCHANGE_ROW_DUPLICATE"
    (path / "part-00001.parquet").unlink()
    np.testing.assert_array_equal(read_matrix(path), matrix())


def test_every_part_file_of_every_kind_is_named(tmp_path):
    write_matrix(tmp_path / "m", [matrix()], arrays={"b": matrix(), "a": matrix()}, **ABOUT)
    svd = Svd(0, np.ones(1), np.ones((1, 1)), np.ones((1, 1)), 1, 1, 1.0, ())
    about = {"dtype": "float64", "input_sha256": "0" * 64, "engine": "numpy", "timings_s": {}}
    write_factors(tmp_path / "f", [svd], request={"want": ["s", "v", "u"]}, **about)
    for path in (tmp_path / "m", tmp_path / "f"):
        there = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.parquet"))
        assert len(there) == 3
        assert read_manifest(path).files == tuple(there)
        (path / there[-1]).unlink()
        read = read_matrix if path.name == "m" else read_factors
        with pytest.raises(ExchangeError) as caught:
            read(path)
        assert f"names {there[-1]}, which is not there" in str(caught.value)


def test_higher_minor_versions_and_unknown_fields_are_fine(tmp_path):
    write_matrix(tmp_path / "m", [matrix()], **ABOUT)
    edit(tmp_path / "m", exchange_version="1.9", colour="blue")
    np.testing.assert_array_equal(read_matrix(tmp_path / "m"), matrix())
    assert read_manifest(tmp_path / "m").to_dict()["colour"] == "blue"


@pytest.mark.parametrize("algorithm", [None, "dssvd", "exact", "dspca"])
def test_factors_say_of_what_they_are(tmp_path, algorithm):
    """A step of one's own passes the request on, and so says that its factors are of the centred matrix."""
    request = {"want": ["s", "v"]} | ({} if algorithm is None else {"algorithm": algorithm})
    about = {"input_sha256": "0" * 64, "engine": "numpy", "timings_s": {}, "dtype": "float64"}
    made = write_factors(tmp_path / "f", [factors(u=False)], request=request, **about)
    assert made.centring == ("columns" if algorithm == "dspca" else "none")
    found = read_factors(tmp_path / "f")
    assert (found.algorithm, found.centred) == (algorithm or "dssvd", algorithm == "dspca")


def factors(group=0, m=40, n=7, r=3, u=True):
    A = matrix(m, n, np.float64, seed=group)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    norm = float(np.vdot(A, A))
    return Svd(group, s[:r], Vt[:r].T, U[:, :r] if u else None, m, n, norm, (f"warning {group}",))


@pytest.mark.parametrize("u", [True, False])
def test_factors_of_different_ranks_and_of_rank_zero(tmp_path, u):
    want = ["s", "v", "u"] if u else ["s", "v"]
    about = {"request": {"want": want}, "input_sha256": "0" * 64, "engine": "numpy", "timings_s": {"read": 0.5}}
    made = write_factors(
        tmp_path / "f", [factors(0, u=u), factors(2, r=0, u=u), factors(5, r=7, u=u)], dtype="float64", **about
    )
    assert [g.rank for g in made.groups] == [3, 0, 7]
    for group, r in ((0, 3), (2, 0), (5, 7)):
        found, wanted = read_factors(tmp_path / "f", group), factors(group, r=r, u=u)
        np.testing.assert_array_equal(found.s, wanted.s)
        np.testing.assert_array_equal(found.v, wanted.v)
        assert (found.u is None) == (not u)
        if found.u is not None:
            np.testing.assert_array_equal(found.u, wanted.u)
        assert (found.rank, found.rows, found.columns, found.squared_norm) == (r, 40, 7, wanted.squared_norm)
        assert found.warnings == ("warning 0", "warning 2", "warning 5")
        assert found.manifest.writer["engine"] == "numpy"
    assert (tmp_path / "f" / "u").exists() == u
    assert read_factors(tmp_path / "f", 2).residual == 1.0
    assert read_factors(tmp_path / "f", 5).residual < 1e-7
    assert code_of(read_matrix, tmp_path / "f") == "CTM_EXCHANGE_KIND"
    assert code_of(read_factors, tmp_path / "f", 1) == "CTM_EXCHANGE_GROUP_UNKNOWN"
    write_matrix(tmp_path / "m", [matrix()], **ABOUT)
    assert code_of(read_factors, tmp_path / "m") == "CTM_EXCHANGE_KIND"
    shutil.rmtree(tmp_path / "f" / "v")
    assert code_of(read_factors, tmp_path / "f") == "CTM_EXCHANGE_FILE_MISSING"


# ------------------------------------------------------------------------------------------------------------ checksums


def test_checksums_are_those_of_the_contract(root):
    for vector in json.loads((root / "contract" / "v1" / "checksum.json").read_text()):
        rows = np.array([row for row, _ in vector["rows"]])
        values = np.array([values for _, values in vector["rows"]], dtype=vector["dtype"])
        assert checksum(values.reshape(len(rows), -1), rows) == vector["checksum"]


def test_a_checksum_does_not_depend_on_the_order_but_on_each_bit():
    A = matrix(5000, 33)
    order = np.random.default_rng(1).permutation(5000)
    assert checksum(A[order], order) == checksum(A)
    swapped = A.copy()
    swapped[[7, 8]] = swapped[[8, 7]]
    assert checksum(swapped) != checksum(A)
    assert checksum(A[:, ::-1]) != checksum(A)
    A.view(np.uint32)[4321, 12] ^= 1
    assert checksum(A[order], order) != checksum(swapped)


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("groups", "code"),
    [
        ([np.array([[1.0, np.nan], [0, 1]])], "CTM_EXCHANGE_NOT_FINITE"),
        ([np.array([[1.0, 1e39], [0, 1]])], "CTM_EXCHANGE_NOT_FINITE"),  # not in float32
        ([np.ones((2, 3))], "CTM_EXCHANGE_WIDE"),
        ([np.ones((3, 0))], "CTM_EXCHANGE_WIDTH"),
        ([np.ones((3, 2)), np.ones((4, 3))], "CTM_EXCHANGE_WIDTH"),
        ([[([0, 1], np.ones((2, 2))), ([2], np.ones((1, 1)))]], "CTM_EXCHANGE_WIDTH"),
        ([[([0, 1], np.ones((2, 2))), ([1], np.ones((1, 2)))]], "CTM_EXCHANGE_ROW_DUPLICATE"),
        ([[([0, 2], np.ones((2, 2)))]], "CTM_EXCHANGE_ROW_MISSING"),
        ([[([0, -1], np.ones((2, 2)))]], "CTM_EXCHANGE_ROW_RANGE"),
        ([np.ones((0, 2))], "CTM_EXCHANGE_ROW_MISSING"),
        ([[]], "CTM_EXCHANGE_ROW_MISSING"),
    ],
)
def test_what_no_reader_would_take_is_not_written(tmp_path, groups, code):
    assert code_of(write_matrix, tmp_path / "m", groups, **ABOUT) == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("groups", [np.ones((3, 2)), [np.ones(3)], [np.ones((2, 2), complex)], [3], []])
def test_wrong_kinds_of_arguments(tmp_path, groups):
    with pytest.raises((TypeError, ValueError)):
        write_matrix(tmp_path / "m", groups, **ABOUT)
    with pytest.raises(ValueError, match="float16"):
        write_matrix(tmp_path / "m", [np.ones((3, 2))], dtype="float16", **ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit])
def test_nothing_is_left_of_an_interrupted_writer(tmp_path, error):
    def blocks():
        yield np.arange(60_000), np.zeros((60_000, 100))
        raise error

    write_matrix(tmp_path / "m", [matrix()], **ABOUT)
    with pytest.raises(error):
        write_matrix(tmp_path / "m", [blocks()], overwrite=True, **ABOUT)
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    np.testing.assert_array_equal(read_matrix(tmp_path / "m"), matrix())


def test_only_what_ctmahout_wrote_is_replaced(tmp_path):
    path = tmp_path / "m"
    write_matrix(path, [matrix()], **ABOUT)
    assert is_exchange(path)
    assert code_of(write_matrix, path, [matrix(seed=1)], **ABOUT) == "CTM_OUTPUT_EXISTS"
    write_matrix(path, [matrix(seed=2)], overwrite=True, **ABOUT)
    np.testing.assert_array_equal(read_matrix(path), matrix(seed=2))
    for name, text in (("notes", "text"), ("_ctmahout.json", '{"kind": "something else"}')):
        other = tmp_path / name.strip("_.")
        other.mkdir()
        (other / name).write_text(text)
        assert not is_exchange(other)
        assert code_of(write_matrix, other, [matrix()], overwrite=True, **ABOUT) == "CTM_OUTPUT_EXISTS"
        assert (other / name).read_text() == text


def test_a_place_that_cannot_be_written(tmp_path):
    assert code_of(write_matrix, "/proc/ctmahout/m", [matrix()], **ABOUT) == "CTM_OUTPUT_UNWRITABLE"
    (tmp_path / "file").write_text("")
    assert code_of(write_matrix, tmp_path / "file" / "m", [matrix()], **ABOUT) == "CTM_OUTPUT_UNWRITABLE"


def test_a_full_disk_leaves_nothing(tmp_path):
    script = """
import resource, signal, sys, numpy as np
from ctmahout.errors import OutputError
from ctmahout.exchange import write_matrix
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
try:
    write_matrix(sys.argv[1], [np.ones((200_000, 100))], units="1", centring="none", layout={})
except OutputError as e:
    print(e.code)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "CTM_OUTPUT_UNWRITABLE"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path):
    script = """
import sys, time, numpy as np
from ctmahout.exchange import write_matrix
def blocks():
    yield np.arange(50_000), np.zeros((50_000, 100))
    print("half", flush=True)
    time.sleep(60)
write_matrix(sys.argv[1], [blocks()], units="1", centring="none", layout={})
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "m")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.kill()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("m.partial-")
    assert code_of(read_matrix, left) == "CTM_EXCHANGE_NOT_COMMITTED"
    write_matrix(tmp_path / "m", [matrix()], **ABOUT)


# -------------------------------------------------------------------------------------------------------------- reading


def test_places_without_a_matrix(tmp_path):
    with pytest.raises(InputError, match="CTM_INPUT_NOT_FOUND"):
        read_matrix(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(ExchangeError, match="CTM_EXCHANGE_NOT_COMMITTED"):
            read_matrix(path)
    (tmp_path / "_ctmahout.json").mkdir()
    with pytest.raises(InputError, match="CTM_INPUT_UNREADABLE"):
        read_matrix(tmp_path)


def test_a_promise_of_many_rows_gets_no_memory(tmp_path):
    write_matrix(tmp_path / "m", [matrix()], **ABOUT)
    group = {"group": 0, "rows": 1 << 60, "columns": 7, "checksum": "0" * 16}
    edit(tmp_path / "m", groups=[group])
    assert code_of(read_matrix, tmp_path / "m") == "CTM_EXCHANGE_ROW_MISSING"
    edit(tmp_path / "m", groups=[group | {"columns": 1 << 30}])
    assert code_of(read_matrix, tmp_path / "m") == "CTM_EXCHANGE_WIDTH"


def test_more_files_than_a_process_may_open(tmp_path):
    write_matrix(tmp_path / "m", [matrix(1500, 2)], **ABOUT)
    whole = tmp_path / "m" / "part-00000.parquet"
    table = pq.read_table(whole)
    whole.unlink()
    for row in range(1500):
        pq.write_table(table.slice(row, 1), tmp_path / "m" / f"part-{row:05d}.parquet", store_schema=False)
    edit(tmp_path / "m", files=[f"part-{row:05d}.parquet" for row in range(1500)])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        np.testing.assert_array_equal(read_matrix(tmp_path / "m"), matrix(1500, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_smallest_wrong_row_is_named(tmp_path):
    A = matrix(400, 3)
    A[[7, 300], 1] = 1e30
    write_matrix(tmp_path / "m", [[(np.arange(399, -1, -1), A[::-1])]], **ABOUT)
    file = tmp_path / "m" / "part-00000.parquet"
    file.write_bytes(file.read_bytes().replace(np.float32(1e30).tobytes(), np.float32(np.inf).tobytes()))
    assert code_of(read_matrix, tmp_path / "m") == "CTM_EXCHANGE_CORRUPT"  # the page's own checksum sees it first
    table = pq.read_table(file)
    pq.write_table(table, file, use_dictionary=False, row_group_size=50, store_schema=False)
    with pytest.raises(ExchangeError, match=r"row 7 of group 0 holds a value that is not finite"):
        read_matrix(tmp_path / "m")


def test_every_flipped_bit_is_seen_or_harmless(tmp_path):
    """Whatever byte of a small file is damaged: the same values are read, or a code says what is wrong."""
    path = tmp_path / "m"
    A = matrix(5, 3)
    write_matrix(path, [A], **ABOUT)
    file = path / "part-00000.parquet"
    sound = file.read_bytes()
    codes = {}
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_matrix(path), A)
        except ExchangeError as e:
            codes[e.code] = codes.get(e.code, 0) + 1
    assert codes["CTM_EXCHANGE_CORRUPT"] > 100
    first = sound.index(A.tobytes())
    for at in range(first, first + A.nbytes):
        damaged = bytearray(sound)
        damaged[at] ^= 0x01
        file.write_bytes(damaged)
        assert code_of(read_matrix, path) == "CTM_EXCHANGE_CORRUPT"


def test_every_truncation_is_seen(tmp_path):
    path = tmp_path / "m"
    write_matrix(path, [matrix(5, 3)], **ABOUT)
    file = path / "part-00000.parquet"
    sound = file.read_bytes()
    for size in range(len(sound)):
        file.write_bytes(sound[:size])
        assert code_of(read_matrix, path) == "CTM_EXCHANGE_CORRUPT"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        b'{"kind": "matrix", "exchange_version": "1.0", "kind": "matrix"}',
        b'{"kind": "matrix", "exchange_version": "1"}',
        b'{"kind": "matrix", "exchange_version": 1.0}',
        b'{"kind": "matrix", "exchange_version": "1.0", "dtype": NaN}',
    ],
)
def test_no_text_makes_the_manifest_reader_stumble(tmp_path, text):
    (tmp_path / "_ctmahout.json").write_bytes(text)
    assert code_of(read_manifest, tmp_path) == "CTM_EXCHANGE_MANIFEST"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_value_in_any_field_of_a_manifest_is_read_or_refused(data):
    made = json.loads(
        (Path(__file__).parents[3] / "contract/v1/golden/python-matrix-float32/_ctmahout.json").read_text()
    )
    value = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers())
    )
    places = [made, made["writer"], made["groups"][0], made["groups"]]
    place = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
    place[key] = value
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "_ctmahout.json").write_text(json.dumps(made))
        with suppress(ExchangeError):
            read_manifest(folder, "matrix")


def test_importing_ctmahout_loads_nothing_heavy():
    script = "import sys, ctmahout; print([m for m in ('pyarrow', 'pyspark', 'jpype', 'pydicom') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout.strip() == "[]"
