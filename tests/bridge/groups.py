"""Decomposes all groups of a directory through the jpype engine, twice, in two sessions: INPUT OUTPUT."""

import sys

from ctmahout.engines import Request, connect
from ctmahout.errors import EngineError


def second() -> str:
    try:
        connect("jpype")
    except EngineError as e:
        return e.code
    return "none"


source, target = sys.argv[1:]
for overwrite in (False, True):
    with connect("jpype", master="local[1]") as engine:
        engine.run(Request(source, target, overwrite=overwrite))
        code = second()
sys.stdout.write(f'"{code}"\n')
