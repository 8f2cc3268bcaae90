package org.ctmahout.bench

import com.fasterxml.jackson.databind.JsonNode
import com.fasterxml.jackson.databind.node.ObjectNode
import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.Bridge

/** Parquet to Parquet through the bridge: the task's `request`, in a JVM that stays. */
object BridgeRequest extends Measurement {

  override protected def subject(session: SparkSession, task: JsonNode): Subject = new Subject {
    private val request = task.get("request").deepCopy[ObjectNode]().put("overwrite", true).toString

    override def run(i: Int): Unit = { Bridge.run(request); () }
    override def describe(answer: ObjectNode): Unit = ()
    override def close(): Unit = ()
  }
}
