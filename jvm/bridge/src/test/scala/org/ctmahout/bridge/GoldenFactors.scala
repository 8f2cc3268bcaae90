package org.ctmahout.bridge

import java.io.File

/**
 * Writes contract/v1/golden/jvm-factors-float32 anew: `./sbt "bridge/Test/runMain org.ctmahout.bridge.GoldenFactors"`.
 * Python's tests read it.
 */
object GoldenFactors {
  val Name = "jvm-factors-float32"

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
    Testing.spark.stop()
  }
}
