"""Decomposes, denoises and learns through a session: MASTER SCAN OUTPUT, where sc://HOST:PORT is Spark Connect."""

import sys
from pathlib import Path

from ctmahout import denoise, factorise, learn, prepare
from ctmahout.engines import connect

TIME = "2026-01-31T12:00:00+00:00"


def main(master, scan, output):
    output = Path(output)
    output.mkdir()
    prepare(scan, output / "matrix", method="slices")
    with connect("py4j", master=master) as engine:
        session = engine.session
        factorise(output / "matrix", output / "factors", session=session)
        denoise(scan, output / "denoised", session=session, effort="fast", report=False, timestamp=TIME)
        learn([scan], output / "model", groups=8, session=session)
    sys.stdout.write("0\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
