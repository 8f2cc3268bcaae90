"""Archives and deflated images that are made to do harm, or that are too large for where they are unpacked."""

import errno
import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import pytest
from dicom_slices import put
from helpers import code_of

from ctmahout.cli import main
from ctmahout.dicom import archive, read_series, summarise
from ctmahout.dicom.classify import classify
from ctmahout.errors import CtmahoutError

MIB = 1 << 20


def zeros(mib, *, first=b""):
    """Return `first` and so many MiB of zeros, deflated: a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    begin = packer.compress(first) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same whatever is before it
    return begin + one * mib + packer.flush(zlib.Z_FINISH)


def zipped(path, name, data, size):
    """Write a zip of one deflated member that is said to have this size."""
    head = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, 0, len(data), size, len(name), 0)
    local = b"PK\3\4" + head + name.encode()
    central = b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<3H2I", 0, 0, 0, 0, 0) + name.encode()
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path.write_bytes(local + data + central + end)
    with zipfile.ZipFile(path) as made:
        assert made.infolist()[0].file_size == size
    return path


def test_a_member_larger_than_the_limit_is_refused_by_its_option(tmp_path, capsys):
    preamble = bytes(128) + b"DICM"
    bomb = zipped(tmp_path / "bomb.zip", "a.dcm", zeros(1025, first=preamble), 1025 * MIB + 132)
    with pytest.raises(CtmahoutError) as e:
        read_series(bomb)
    assert e.value.code == "CTM_UNPACKED_TOO_LARGE"
    assert "--unpack-gib" in e.value.hint
    assert "CTM_UNPACKED_TOO_LARGE" in summarise(bomb).unreadable[0]
    with pytest.raises(SystemExit) as exit:
        main(["denoise", str(bomb), str(tmp_path / "out"), "--unpack-gib", "0"])
    assert exit.value.code == 2
    assert "unpack_gib" in capsys.readouterr().err


INSPECTED = """
import sys
from pathlib import Path
from ctmahout.dicom import summarise
def peak():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1])
before = peak()
found = summarise(sys.argv[1])
print((peak() - before) >> 10, dict(found.skipped))
"""


def test_a_huge_member_that_is_no_image_is_not_unpacked_to_find_out(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", "a", zeros(2500), 2500 * MIB)
    assert bomb.stat().st_size < 4 * MIB
    done = subprocess.run([sys.executable, "-c", INSPECTED, bomb], capture_output=True, text=True, check=True)
    grown, _, skipped = done.stdout.partition(" ")
    assert skipped.strip() == "{'no DICOM file': 1}"
    assert int(grown) < 100


def test_a_deflated_image_larger_than_the_limit_is_refused_before_it_is_unpacked(slices, tmp_path):
    def deflated(ds, i):
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"

    slices.write(tmp_path / "in", deflated, n=2, implicit_vr=False, little_endian=True)
    assert len(read_series(tmp_path / "in").hu) == 2
    bomb = tmp_path / "in" / "slice-01.dcm"
    data = bomb.read_bytes()
    bomb.write_bytes(data[: 144 + int.from_bytes(data[140:144], "little")] + zeros(65))
    assert classify(bomb, 64 * MIB).code == "CTM_UNPACKED_TOO_LARGE"
    assert classify(bomb, 66 * MIB).error.code == "CTM_INPUT_UNREADABLE"


def test_a_compressed_tar_is_unpacked_up_to_a_limit(tmp_path, monkeypatch):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 3 * MIB
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    for name, limit, code in (("a.tar.gz", MIB, "CTM_UNPACKED_TOO_LARGE"), ("b.tar.gz", 4 * MIB, None)):
        path = tmp_path / name
        path.write_bytes(gzip.compress(plain.getvalue()))
        monkeypatch.setattr(archive, "TAR_LIMIT_FACTOR", 1)
        if code:
            assert code_of(archive.list_members, path, limit) == code
            assert code_of(archive.list_members, path, limit) == code  # nor the second time
        else:
            assert archive.list_members(path, limit) == [path / "zeros"]
    (tmp_path / "c.tar").write_bytes(plain.getvalue())
    assert archive.list_members(tmp_path / "c.tar", 1) == [tmp_path / "c.tar" / "zeros"]  # nothing is unpacked


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_is_asked_of_an_archive_does_not_grow_with_its_members(tmp_path, monkeypatch, kind):
    """The work for one file is the same among many: `size` and `read` look it up, and no list of all is made."""
    path = tmp_path / f"a.{kind}"
    names = [f"{i:04d}.txt" for i in range(300)]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.writestr(name, name)
    else:
        with tarfile.open(path, "w") as made:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                made.addfile(info, io.BytesIO(name.encode()))
    (first, *_) = archive.list_members(path, 1)
    opened = archive._open_archive(path)

    class Counted(dict):
        steps = 0

        def __iter__(self):
            for key in super().__iter__():
                Counted.steps += 1
                yield key

        def items(self):
            return [(key, self[key]) for key in self]

        def values(self):
            return [self[key] for key in self]

    opened.members = Counted(opened.members)
    assert archive.size_and_mtime(first)[0] == 8
    assert archive.open_file(first).read() == b"0000.txt"
    assert archive.read_start(first, 4) == b"0000"
    assert Counted.steps == 0


def test_an_archive_that_may_not_be_read_is_said_to_be_that_and_not_damaged(tmp_path, capfd, monkeypatch):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w"):
        pass

    def closed(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setitem(archive._OPENERS, ".tar", closed)
    with pytest.raises(CtmahoutError, match="Permission denied") as e:
        read_series(path)
    assert "damaged" not in e.value.message
    archive._cached_archive.cache_clear()
    assert capfd.readouterr().err == ""  # no "Exception ignored in: _Tar.__del__"


def test_a_full_temporary_folder_is_named(slices, tmp_path, monkeypatch):
    slices.write(tmp_path / "in")
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        made.add(tmp_path / "in", "in")

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive.tempfile, "TemporaryFile", Full)
    with pytest.raises(CtmahoutError, match="No space left on device in /") as e:
        read_series(path)
    assert e.value.code == "CTM_INPUT_UNREADABLE"


def test_members_above_2_gib_are_read_in_pieces(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        info = tarfile.TarInfo("a")
        info.size = 5000
        made.addfile(info, io.BytesIO(bytes(range(250)) * 20))
    pread = os.pread
    monkeypatch.setattr(archive.os, "pread", lambda file, count, at: pread(file, min(count, 999), at))
    assert archive.open_file(path / "a").read() == bytes(range(250)) * 20


def test_a_series_in_an_archive_is_read_whatever_lies_beside_it(slices, tmp_path):
    folder = slices.write(tmp_path / "in", put(SeriesNumber=3))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        made.add(folder, "in")
        for i in range(50):
            info = tarfile.TarInfo(f"notes/{i}.txt")
            info.size = 3
            made.addfile(info, io.BytesIO(b"abc"))
    (found,) = summarise(tmp_path / "a.tar.gz")
    assert found.slices == 4
