package org.ctmahout.bridge

import java.io.File
import java.nio.file.{Files, Path => File_}

import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.Manifest
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.{Test, TestFactory}
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.io.TempDir

/** The directories of contract/v1: those that the other language wrote, and those that both must refuse alike. */
class ContractTest {
  @TempDir var folder: File_ = _

  @org.junit.jupiter.api.BeforeEach
  def session(): Unit = assertFalse(spark.sparkContext.isStopped)

  private val golden = new File(contract, "golden")
  private val bad = new File(contract, "bad")

  private def run(input: File, want: String = """["s", "v", "u"]"""): (File_, com.fasterxml.jackson.databind.JsonNode) = {
    val out = folder.resolve("factors of " + input.getName)
    val request = Json.newObject().put("input", input.toString).put("output", out.toString)
    request.set[com.fasterxml.jackson.databind.JsonNode]("want", json(want))
    (out, json(Bridge.run(request.toString)))
  }

  @TestFactory def everyBadDirectoryIsRefusedWithItsCode(): java.util.List[DynamicTest] = {
    val tests = new java.util.ArrayList[DynamicTest]
    val index = json(new File(bad, "index.json"))
    Json.fieldNames(index).foreach { name =>
      tests.add(DynamicTest.dynamicTest(
        name,
        () => {
          bothWays { way =>
            refused(index.get(name).textValue)(run(new File(bad, name)))
            assertEquals(Nil, folder.toFile.list.toSeq, way)
          }
        }))
    }
    assertTrue(tests.size >= 30)
    tests
  }

  @Test def theIndexKnowsEveryBadDirectory(): Unit = {
    val folders = bad.listFiles.toSeq.filter(_.isDirectory).map(_.getName).sorted
    assertEquals(folders, Json.fieldNames(json(new File(bad, "index.json"))).sorted)
  }

  @Test def whatPythonWroteIsReadAndFactored(): Unit = {
    val matrices = golden.listFiles.toSeq.filter(_.getName.startsWith("python-matrix")).sortBy(_.getName)
    assertTrue(matrices.nonEmpty)
    matrices.foreach { matrix =>
      val (out, answer) = run(matrix)
      val manifest = json(new File(matrix, Manifest.Name))
      assertEquals(manifest.get("groups").size, answer.get("groups").size)
      assertEquals(manifest.get("dtype"), answer.get("dtype"))
      Json.elements(answer.get("groups")).foreach { g =>
        assertTrue(g.get("residual").doubleValue < 1e-6, g.toString)
        assertTrue(g.get("orthogonality_v").doubleValue < 1e-12, g.toString)
      }
      val rows = Json.elements(manifest.get("groups")).map(_.get("rows").longValue).sum
      assertEquals(rows, TestMatrix.part(out, "u").size.toLong)
    }
  }

  /** The numbers of the committed directory are those of today's engine: a change of either shows here. */
  @Test def theGoldenFactorsAreWhatIsWrittenNow(): Unit = {
    val out = folder.resolve("now")
    val now = json(Bridge.run(GoldenFactors.request(golden, out.toFile)))
    for (name <- Seq(GoldenFactors.Old, GoldenFactors.Name)) {
      val committed = new File(golden, name)
      val before = json(new File(committed, Manifest.Name))
      for (key <- Seq("request", "input_sha256", "warnings")) assertEquals(before.get(key), now.get(key), name)
      for (part <- Seq("s", "v", "u")) {
        val (a, b) = (TestMatrix.part(committed.toPath, part), TestMatrix.part(out, part))
        assertEquals(a.keySet, b.keySet)
        val tolerance = if (part == "u") 1e-6 else 1e-10
        for ((key, values) <- a; (x, y) <- values.zip(b(key)))
          assertEquals(x, y, tolerance * math.max(1.0, math.abs(x)), s"$name $part $key")
      }
    }
    val there = for (part <- Seq("s", "u", "v"); file <- out.resolve(part).toFile.list.toSeq.sorted) yield s"$part/$file"
    assertEquals(there, Json.elements(now.get("files")).map(_.textValue))
    assertTrue(Files.exists(out.resolve(Manifest.Name)))
  }
}
