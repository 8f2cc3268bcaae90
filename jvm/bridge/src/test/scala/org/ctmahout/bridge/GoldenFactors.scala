package org.ctmahout.bridge

import java.io.File
import java.nio.file.Files

/**
 * Writes contract/v1/golden/jvm-factors-files anew: `./sbt "bridge/Test/runMain org.ctmahout.bridge.GoldenFactors"`.
 * Python's tests read it, and jvm-factors-float32, which version 1.0 of the contract has left.
 */
object GoldenFactors {
  val Name = "jvm-factors-files"
  val Old = "jvm-factors-float32"

  def request(golden: File, output: File): String = {
    val json = Json.newObject()
      .put("input", new File(golden, "python-matrix-float32").toString)
      .put("output", output.toString)
      .put("seed", 20).put("partitions", 1).put("overwrite", true)
    json.putArray("want").add("s").add("v").add("u")
    json.toString
  }

  def main(args: Array[String]): Unit = {
    Testing.spark
    val golden = new File(Testing.contract, "golden")
    println(Bridge.run(request(golden, new File(golden, Name))))
    // What a second attempt at V leaves: no reader may look at it.
    val v = new File(golden, s"$Name/v")
    Files.copy(v.listFiles.head.toPath, new File(v, "part-again.parquet").toPath)
    Testing.spark.stop()
  }
}
