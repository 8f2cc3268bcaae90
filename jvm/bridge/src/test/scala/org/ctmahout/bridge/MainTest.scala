package org.ctmahout.bridge

import java.io.{ByteArrayOutputStream, PrintStream}
import java.nio.file.{Files, Path => File_}

import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.Manifest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.io.TempDir

class MainTest {
  @TempDir var folder: File_ = _

  /** Exit code, standard output and standard error. */
  private def main(args: String*): (Int, String, String) = {
    val (out, err) = (new ByteArrayOutputStream, new ByteArrayOutputStream)
    val stderr = System.err
    System.setErr(new PrintStream(err, true, "UTF-8"))
    try {
      val code = Console.withOut(new PrintStream(out, true, "UTF-8"))(Main.outcome(args.toArray))
      (code, out.toString("UTF-8"), err.toString("UTF-8"))
    } finally System.setErr(stderr)
  }

  @Test def printsTheAnswerOnOneLine(): Unit = {
    spark // not Main's own, so it goes on after it
    TestMatrix.write(folder.resolve("m"), Seq(graded(50, 3)))
    val request = Json.newObject().put("input", folder.resolve("m").toString).put("output", folder.resolve("f").toString).toString
    Files.write(folder.resolve("request.json"), request.getBytes("UTF-8"))
    val (code, out, _) = main("--request-file", folder.resolve("request.json").toString)
    assertEquals(0, code)
    assertTrue(out.startsWith("CTMAHOUT_RESULT {"))
    assertEquals(read(folder.resolve("f").resolve(Manifest.Name)).toSeq, out.stripPrefix(Main.Prefix).trim.getBytes("UTF-8").toSeq)
    assertFalse(spark.sparkContext.isStopped)
    val again = main("--request", request)
    assertEquals((6, ""), (again._1, again._2))
    assertTrue(again._3.startsWith("[CTM_OUTPUT_EXISTS] "), again._3)
    assertEquals(1, again._3.trim.linesIterator.size)
  }

  @Test def exitsWithTheCodeOfTheCatalogue(): Unit = {
    spark
    for (args <- Seq(Nil, Seq("--request"), Seq("--request", "{"), Seq("--what", "x"), Seq("--request-file", "/no/such/file"))) {
      val (code, out, err) = main(args: _*)
      assertEquals((2, ""), (code, out), err)
      assertTrue(err.startsWith("[CTM_REQUEST_INVALID] "), err)
    }
    assertEquals(3, main("--request", """{"input": "/no/such", "output": "/nowhere"}""")._1)
  }

  @Test def aWrongRequestStartsNoSpark(): Unit = {
    val session = spark
    SparkSession.clearActiveSession()
    SparkSession.clearDefaultSession()
    try {
      assertEquals(2, main("--request", """{"input": "relative/m", "output": "/f"}""")._1)
      assertFalse(session.sparkContext.isStopped, "a session of its own would have been stopped in the end")
    } finally SparkSession.setDefaultSession(session)
  }

  @Test def saysItsVersion(): Unit =
    for (flag <- Seq("--version", "--jar-check")) {
      val (code, out, _) = main(flag)
      assertEquals(0, code)
      assertEquals("ctmahout", json(out).get("name").textValue)
    }
}
