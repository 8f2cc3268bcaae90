package org.ctmahout.bridge

import org.junit.jupiter.api.Assertions.{assertThrows, assertTrue}
import org.junit.jupiter.api.Test

class BuildInfoTest {
  private def check(builtSpark: String, builtScala: String, spark: String, scala: String): Unit =
    BuildInfo.checkLine(java.util.Map.of("built_for_spark", builtSpark, "built_for_scala", builtScala, "spark", spark, "scala", scala))

  private def refused(builtSpark: String, builtScala: String, spark: String, scala: String, says: String): Unit = {
    val e = assertThrows(classOf[IllegalStateException], () => check(builtSpark, builtScala, spark, scala))
    assertTrue(e.getMessage.startsWith("[CTM_JAR_MISMATCH] ") && e.getMessage.contains(says), e.getMessage)
  }

  @Test def aJarOfAnotherLineSaysSo(): Unit = {
    check("3.5", "2.12.18", "3.5.0", "2.12.19")
    check("4", "2.13.16", "4.3.0", "2.13.17")
    check("unknown", "unknown", "4.3.0", "2.13.17")
    check("4", "2.13.16", "unknown", "unknown")
    refused("4", "2.13.16", "3.5.6", "2.12.18", says = "this is Spark 3.5.6 (Scala 2.12)")
    refused("3.5", "2.12.18", "4.0.1", "2.13.16", says = "this is Spark 4.0.1 (Scala 2.13)")
    refused("4", "2.13.16", "3.5.6", "2.13.8", says = "this is Spark 3.5.6 (Scala 2.13)")
  }
}
