package org.ctmahout.bench

import java.io.File

import scala.util.control.NonFatal

import com.fasterxml.jackson.databind.{JsonNode, ObjectMapper}
import com.fasterxml.jackson.databind.node.{JsonNodeFactory, ObjectNode}
import org.apache.spark.sql.SparkSession

/** Something that can be done again and again. */
private[bench] trait Subject {

  /** Does it for the i-th time: this is what is measured. */
  def run(i: Int): Unit

  /** Adds to the answer what is known of the result. */
  def describe(answer: ObjectNode): Unit

  def close(): Unit
}

/**
 * A main class: the file it is given holds a list of tasks as JSON; for each it does `warm` runs, then measures `runs`
 * more, and prints one line of JSON.
 */
private[bench] abstract class Measurement {

  protected def subject(session: SparkSession, task: JsonNode): Subject

  final def main(args: Array[String]): Unit = {
    val session = SparkSession.builder().getOrCreate()
    try {
      val meter = new Meter(session.sparkContext)
      val tasks = new ObjectMapper().readTree(new File(args(0)))
      for (i <- 0 until tasks.size; task = tasks.get(i)) {
        val answer =
          try measured(subject(session, task), task, meter)
          catch {
            // A task that this version refuses does not keep the others from being measured.
            case NonFatal(e) => JsonNodeFactory.instance.objectNode().put("error", String.valueOf(e.getMessage))
          }
        answer.put("spark", session.version).put("java", System.getProperty("java.version"))
        println(Measurement.Prefix + answer)
      }
    } finally session.stop()
  }

  private def measured(subject: Subject, task: JsonNode, meter: Meter): ObjectNode =
    try {
      val answer = JsonNodeFactory.instance.objectNode()
      val warm = task.get("warm").asInt
      (0 until warm).foreach(subject.run)
      val runs = answer.putArray("runs")
      for (i <- 0 until task.get("runs").asInt) runs.add(meter(subject.run(warm + i)))
      answer.put("peak_mib", Meter.peakMib)
      subject.describe(answer)
      answer
    } finally subject.close()
}

private[bench] object Measurement {

  /** What the lines for the caller begin with: Spark writes to stdout, too. */
  val Prefix = "BENCH "
}
