package org.ctmahout.bridge

import java.io.{FileNotFoundException, IOException}

import org.ctmahout.bridge.Testing._
import org.apache.spark.SparkException
import org.junit.jupiter.api.Assertions.{assertEquals, assertNotNull, assertThrows, assertTrue}
import org.junit.jupiter.api.Test

class ErrorsTest {

  private def from(e: Throwable): (String, String) = {
    val error = Errors.from(e)
    assertTrue(error.getMessage.startsWith(s"[${error.code}] "))
    (error.code, error.getMessage.drop(error.code.length + 3))
  }

  private def spark(message: String, cause: Throwable = null) = new SparkException(message, cause)

  @Test def fillsTheFieldsOfTheCatalogue(): Unit = {
    val e = Errors("CTM_EXCHANGE_ROW_MISSING", "path" -> "/m", "row" -> 3, "group" -> 0, "given" -> 9, "expected" -> "$10\\")
    assertEquals("[CTM_EXCHANGE_ROW_MISSING] /m: row 3 of group 0 is missing (9 rows, expected $10\\).", e.getMessage)
    assertEquals(4, e.exitCode)
    assertEquals("[CTM_INPUT_NOT_FOUND] {path} does not exist.", Errors("CTM_INPUT_NOT_FOUND").getMessage)
  }

  @Test def everyCodeOfTheContractIsThere(): Unit =
    Json.fieldNames(json(new java.io.File(contract, "errors.json"))).foreach(code => assertNotNull(Errors(code)))

  @Test def staysOnOneLine(): Unit = {
    val e = Errors("CTM_ENGINE_FAILED", "engine" -> "spark", "detail" -> "first\n  second\r\nthird")
    assertEquals("[CTM_ENGINE_FAILED] The spark engine failed: first second third.", e.getMessage)
  }

  @Test def findsOursUnderSparksWrapping(): Unit = {
    val ours = Errors("CTM_OUTPUT_UNWRITABLE", "path" -> "/o", "problem" -> "full")
    assertEquals(ours.code -> "/o cannot be written: full.", from(spark("Job aborted", new RuntimeException(ours))))
    assertTrue(Errors.from(ours) eq ours)
  }

  @Test def findsOursWhereOnlyTextArrived(): Unit = {
    val text =
      "Job aborted: Lost task 0.0: org.ctmahout.bridge.CtmahoutException: [CTM_OUTPUT_UNWRITABLE] /o cannot be written: full.\n\tat x"
    assertEquals("CTM_OUTPUT_UNWRITABLE" -> "/o cannot be written: full.", from(spark(text)))
    assertEquals("CTM_ENGINE_FAILED", from(spark("[CTM_NO_SUCH_CODE] x"))._1)
  }

  @Test def tellsMemoryAndInterruptionFromOtherFailures(): Unit = {
    assertEquals("CTM_ENGINE_MEMORY", from(spark("Job aborted", new OutOfMemoryError("Java heap space")))._1)
    assertEquals("CTM_ENGINE_MEMORY", from(spark("Lost task: java.lang.OutOfMemoryError: Java heap space"))._1)
    assertEquals("CTM_INTERRUPTED", from(new RuntimeException(new InterruptedException))._1)
    assertEquals("CTM_INTERRUPTED", from(spark("Job 3 cancelled part of cancelled job group x"))._1)
    assertEquals("CTM_INTERRUPTED", from(spark("[SPARK_JOB_CANCELLED] Job 3 cancelled as part of cancellation of all jobs"))._1)
    assertEquals("CTM_ENGINE_FAILED", from(spark("Job 3 cancelled because SparkContext was shut down"))._1)
    val expected = "CTM_ENGINE_FAILED" -> "The spark engine failed: IllegalStateException: no luck."
    assertEquals(expected, from(spark("outer", new IllegalStateException("no\nluck."))))
    assertEquals("The spark engine failed: NullPointerException.", from(new NullPointerException)._2)
  }

  @Test def failuresOfReadingNameTheInput(): Unit = {
    def reading(e: Throwable) = Errors.fromReading(e, "/m").code
    assertEquals("CTM_INPUT_NOT_FOUND", reading(spark("x", new FileNotFoundException("f"))))
    assertEquals("CTM_EXCHANGE_CORRUPT", reading(spark("x", new IOException("f"))))
    assertEquals("CTM_EXCHANGE_CORRUPT", reading(new org.apache.parquet.io.ParquetDecodingException("crc")))
    assertEquals("CTM_ENGINE_FAILED", reading(new IllegalStateException("f")))
    assertEquals("CTM_ENGINE_MEMORY", reading(spark("x", new OutOfMemoryError("f"))))
  }

  @Test def survivesACycleOfCauses(): Unit = {
    val a = new RuntimeException("a")
    val b = new RuntimeException("b", a)
    a.initCause(b)
    assertEquals("CTM_ENGINE_FAILED", from(a)._1)
  }

  @Test def executorsThatMultiplyByDifferentMeansAreRefused(): Unit = {
    Job.checkKernels(Set("vector kernel"))
    val e = assertThrows(classOf[CtmahoutException], () => Job.checkKernels(Set("vector kernel", "VectorBLAS (no FMA)")))
    assertEquals("CTM_ENGINE_FAILED", e.code)
    for (word <- Seq("no FMA", "vector kernel", "spark.executor.extraJavaOptions")) assertTrue(e.getMessage.contains(word), e.getMessage)
  }
}
