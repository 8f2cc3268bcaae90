"""The jar of the wheel in spark-shell, as docs/samsara.md has it."""

import re
import subprocess
import zipfile
from pathlib import Path

import pyspark
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL = Path(pyspark.__path__[0]) / "bin" / "spark-shell"

# What the page says can be sparse, and what shuffles: all of it on classes that the jar holds under another name.
SPARSE = """
import org.apache.mahout.math._
val random = new RandomAccessSparseVector(3)
random(1) = 2
val sequential = svec((0, 1) :: (2, 3) :: Nil, cardinality = 3)
val rows = sparse(random, sequential)
val block = new SparseMatrix(2, 3) := rows
val A = drmParallelize(rows, numPartitions = 2)
println("sparse " + (A.t %*% A).collect.zSum + " " + (block %*% block.t).zSum)
val vectors = sc.parallelize(Seq(0, 1), 2).map(k => k -> (svec((k, k + 1) :: Nil, cardinality = 2): Vector))
println("vectors " + samsara.fromVectors(vectors).collect.zSum)
import org.apache.mahout.math.cf.SimilarityAnalysis
import org.apache.mahout.classifier.naivebayes._
val words = dense((3, 0), (0, 4))
words.setRowLabelBindings(java.util.Map.of("/a/1", 0, "/b/2", 1))
val (labels, sums) = NaiveBayes.extractLabelsAndAggregateObservations(drmParallelizeWithRowLabels(words))
NaiveBayes.train(sums, labels, trainComplementary = false).dfsWrite("FOLDER")
val model = NBModel.dfsRead("FOLDER")
val score = new StandardNBClassifier(model).classifyFull(dvec(1, 0)).get(model.labelIndex("a"))
println(f"bayes $score%.6f ${math.log(4.0 / 5)}%.6f")
val bought = drmParallelize(dense((1, 1), (1, 1), (0, 1), (0, 0)))
println("similar " + SimilarityAnalysis.cooccurrences(bought).head.collect.zSum.round)
"""


@pytest.mark.spark
@pytest.mark.release
@pytest.mark.timeout(1300)
def test_spark_shell_with_the_jar_of_the_wheel(jar, tmp_path):
    page = (ROOT / "docs" / "samsara.md").read_text()
    program, printed = (
        re.search(rf"```{kind}\n(.*?)```", page[page.index("## An example") :], re.S) for kind in ("scala", "text")
    )
    script = tmp_path / "program.scala"
    script.write_text(program[1] + SPARSE.replace("FOLDER", str(tmp_path / "model")) + "sys.exit(0)\n")
    shell = [SHELL, "--master", "local[2]", "--driver-memory", "1g", "--conf", "spark.ui.enabled=false"]
    run = subprocess.run(
        [*map(str, shell), "--jars", str(jar.path), "-i", str(script)],
        capture_output=True,
        text=True,
        timeout=1200,
        stdin=subprocess.DEVNULL,
    )
    said = run.stdout + run.stderr
    for line in [*printed[1].splitlines(), "sparse 20.0 14.0", "vectors 3.0"]:
        assert line in said, said[-6000:]
    assert re.search(r"bayes (-0\.223144) \1", said), said[-6000:]
    assert re.search(r"similar [1-9]", said), said[-6000:]


@pytest.mark.spark
def test_licences_are_in_the_jar_and_nobody_elses_packages(jar):
    with zipfile.ZipFile(jar.path) as archive:
        names = archive.namelist()
        assert archive.read("META-INF/NOTICE") == (ROOT / "NOTICE").read_bytes()
        assert b"- topItemsPerThing.dequeueAll.foreach {" in archive.read("META-INF/mahout/changed-lines.txt")
    classes = [name for name in names if name.endswith(".class")]
    # PySpark finds the estimators of Python's ctmahout.ml in a package of the same name.
    assert all(name.startswith(("org/ctmahout/", "ctmahout/ml/", "org/apache/mahout/")) for name in classes)
    assert not any("sparkbindings" in name for name in classes)
