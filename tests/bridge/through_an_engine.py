"""Sends requests through one engine, and prints manifests and codes as JSON: ENGINE MATRICES OUTPUT [MASTER]."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

from ctmahout.engines import Request, connect, spark_builder
from ctmahout.errors import CtmahoutError

CONTRACT = Path(__file__).resolve().parents[2] / "contract" / "v1"
# Every request of the submit engine is an application of its own, with the start of a JVM: one of each kind must do.
# The JSON that it is sent is that of the other engines.
A_FEW = ("flipped-bit",)
# Beside dssvd, which all the others go by: what each algorithm is for, and where its short way is not good enough.
ALGORITHMS = [(algorithm, "shifted") for algorithm in ("exact", "dspca", "auto")]
HARD = [(algorithm, kind) for algorithm in ("exact", "dspca") for kind in ("double", "deficient", "zero", "column")]


@contextmanager
def opened(engine, master):
    if engine != "user":
        with connect(engine, master=master) as found:
            yield found
        return
    session = spark_builder(master).config("spark.user.setting", "mine").appName("theirs").getOrCreate()
    context = session.sparkContext
    context.setJobDescription("their job")
    before = state(session)
    with connect("py4j", session=session) as found:
        yield found
        assert state(session) == before
    with connect("py4j") as found:  # without the argument the running session is found
        assert found.session.sparkContext is context
    assert session.range(10).count() == 10
    assert state(session) == before
    session.stop()


def state(session):
    """What a guest must leave as it was."""
    context = session.sparkContext
    settings = {key: session.conf.get(key) for key in ("spark.sql.files.maxPartitionBytes", "spark.user.setting")}
    hadoop = dict(item.split("=", 1) for item in map(str, context._jsc.hadoopConfiguration().iterator()))
    return [
        sorted(context.getConf().getAll()),
        settings,
        hadoop,
        context.getLocalProperty("spark.job.description"),
        context._jsc.getPersistentRDDs().size(),
        context.appName,
    ]


def code_of(engine, *args, **kwargs):
    try:
        engine.run(Request(*map(str, args), **kwargs))
    except CtmahoutError as e:
        return e.code
    return "none"


def main(name, matrices, output, master="local[2]"):
    matrices, output = Path(matrices), Path(output)
    told = {}
    with opened(name, master) as engine:
        request = {"k": 8, "p": 6, "q": 2, "want": ("s", "v", "u")}
        for partitions in (2,) if name == "submit" else (1, 2, 7):
            made = Request(
                str(matrices / "plain"), str(output / f"plain-{partitions}"), partitions=partitions, **request
            )
            told[f"plain-{partitions}"] = engine.run(made)
        for kind in ("double", "deficient", "zero", "column", "square"):
            if name == "submit":
                continue
            made = Request(str(matrices / kind), str(output / kind), q=1, want=("s", "v", "u"))
            told[kind] = engine.run(made)
        some = [("auto", "shifted")] if name == "submit" else [("dssvd", "shifted"), *ALGORITHMS, *HARD]
        for algorithm, kind in some:
            target = str(output / f"{algorithm}-{kind}")
            made = Request(str(matrices / kind), target, algorithm=algorithm, want=("s", "v", "u"), partitions=3)
            told[f"{algorithm}-{kind}"] = engine.run(made)
        bad = A_FEW if name == "submit" else json.loads((CONTRACT / "bad" / "index.json").read_text())
        told["bad"] = {each: code_of(engine, CONTRACT / "bad" / each, output / "bad") for each in bad}
        plain = matrices / "plain"
        told["refused"] = {"CTM_OUTPUT_EXISTS": code_of(engine, plain, output / "plain-2")}
        if name != "submit":
            told["refused"] |= {
                "CTM_EXCHANGE_GROUP_UNKNOWN": code_of(engine, plain, output / "f", groups=(3,)),
                "CTM_RANK_RANGE": code_of(engine, plain, output / "f", k=25),
                "CTM_INPUT_NOT_FOUND": code_of(engine, matrices / "nowhere", output / "f"),
                "CTM_OUTPUT_IS_INPUT": code_of(engine, plain, plain / "f"),
                "CTM_OUTPUT_UNWRITABLE": code_of(engine, plain, "/proc/ctmahout/f"),
            }
            made = Request(str(plain), str(output / "plain-7"), overwrite=True, partitions=7, **request)
            told["plain-7"] = engine.run(made)
    told["left"] = sorted(path.name for path in output.iterdir())
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
