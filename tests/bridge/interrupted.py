"""Is interrupted while a long request runs, and sends another one through the same engine: ENGINE INPUT OUTPUT.

ENGINE may be the address of a server of Spark Connect.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ctmahout.engines import Request, connect, spark_builder

name, source, output = sys.argv[1:]
target = Path(output, "long")


def interrupt() -> None:
    """Send SIGINT as soon as the run writes beside its target."""
    while not list(target.parent.glob("long.partial-*")):
        time.sleep(0.1)
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGINT)


session = spark_builder("local[2]").getOrCreate() if name == "user" else None
master = None if session else name if name.startswith("sc://") else "local[2]"
told = {}
with connect("py4j" if name in (master, "user") else name, session=session, master=master) as engine:
    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    try:
        engine.run(Request(source, str(target), q=20))
        told["raised"] = "none"
    except KeyboardInterrupt:
        told["raised"] = "KeyboardInterrupt"
    told["seconds"] = time.monotonic() - start
    told["left"] = [path.name for path in target.parent.iterdir()]
    told["next"] = engine.run(Request(source, str(Path(output, "next")), groups=(0,)))["groups"][0]["group"]
    told["handler"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if session:
    told["session"] = session.range(5).count()
    session.stop()
sys.stdout.write(json.dumps(told) + "\n")
