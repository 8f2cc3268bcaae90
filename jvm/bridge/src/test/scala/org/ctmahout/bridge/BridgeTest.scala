package org.ctmahout.bridge

import java.nio.file.{Files, Path => File_}

import com.fasterxml.jackson.databind.JsonNode
import org.apache.commons.math3.linear.{Array2DRowRealMatrix, SingularValueDecomposition}
import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{Checksum, Dtype, Manifest}
import org.junit.jupiter.api.{AfterEach, BeforeEach, Test}
import org.junit.jupiter.api.Assertions.{assertArrayEquals, assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.io.TempDir

/** Requests from end to end, through the entry point that Python uses. */
class BridgeTest {
  @TempDir var folder: File_ = _

  private def in: File_ = folder.resolve("matrix")
  private def out: File_ = folder.resolve("factors")

  @BeforeEach def session(): Unit = assertFalse(spark.sparkContext.isStopped)

  @AfterEach def leavesNothingBehind(): Unit = {
    assertEquals(0, spark.sparkContext.getPersistentRDDs.size)
    assertEquals(Nil, folder.toFile.list.toSeq.filter(_.startsWith("factors.")))
    assertEquals(None, Option(spark.sparkContext.getLocalProperty("spark.jobGroup.id")))
  }

  private def run(more: String = ""): JsonNode = json(Bridge.run(request(more)))

  private def request(more: String): String = {
    val json = Json.newObject().put("input", in.toString).put("output", out.toString).toString
    json.dropRight(1) + (if (more.isEmpty) "" else ", " + more) + "}"
  }

  private def group(answer: JsonNode, i: Int = 0): JsonNode = answer.get("groups").get(i)

  private def s(g: Int = 0): Array[Double] = TestMatrix.part(out, "s")((g, 0L)).toArray

  private def rows(part: String, g: Int = 0): Array[Array[Double]] =
    TestMatrix.part(out, part).toSeq.collect { case ((`g`, row), values) => row -> values.toArray }.sortBy(_._1).map(_._2).toArray

  private def svd(a: Array[Array[Double]]) = new SingularValueDecomposition(new Array2DRowRealMatrix(a))

  @Test def valuesWhoseSquaresAreNoNumbers(): Unit = bothWays { _ =>
    TestMatrix.write(in, Seq(graded(40, 3).map(_.map(_ * 1e160))), Dtype.Float64)
    val e = refused("CTM_ENGINE_FAILED")(run(""""overwrite": true"""))
    assertTrue(e.getMessage.contains("more than a double can hold"), e.getMessage)
    for (algorithm <- Seq("dssvd", "exact")) {
      TestMatrix.write(in, Seq(graded(40, 3).map(_.map(_ * 1e-160))), Dtype.Float64)
      val answer = run(s""""overwrite": true, "algorithm": "$algorithm"""")
      assertEquals(3, group(answer).get("rank").intValue)
      for ((expected, found) <- svd(graded(40, 3)).getSingularValues.zip(s())) assertEquals(1.0, found / 1e-160 / expected, 1e-9)
    }
  }

  @Test def factorsAreThoseOfTheMatrix(): Unit = {
    val a = graded(400, 12)
    TestMatrix.write(in, Seq(a), Dtype.Float64)
    bothWays(_ => factorsAre(a))
  }

  private def factorsAre(a: Array[Array[Double]]): Unit = {
    val answer = run(""""want": ["s", "v", "u"], "overwrite": true""")
    val expected = svd(a)
    val (s, u, v) = (this.s(), rows("u"), rows("v"))
    assertArrayEquals(expected.getSingularValues, s, 1e-10 * s(0))
    assertEquals(400, u.length)
    // A = U diag(s) V', entry by entry.
    for (i <- a.indices; j <- 0 until 12) {
      val entry = (0 until 12).map(c => u(i)(c) * s(c) * v(j)(c)).sum
      assertEquals(a(i)(j), entry, 1e-10)
    }
    for (c <- 0 until 12) {
      val column = v.map(_(c))
      assertTrue(column.maxBy(math.abs) > 0, s"sign of column $c")
      val reference = expected.getV.getColumn(c)
      val sign = math.signum(reference.zip(column).map { case (x, y) => x * y }.sum)
      assertArrayEquals(reference.map(_ * sign), column, 1e-8)
    }
    val one = group(answer)
    assertEquals(12, one.get("rank").intValue)
    assertTrue(one.get("orthogonality_v").doubleValue < 1e-12)
    assertTrue(one.get("orthogonality_u").doubleValue < 1e-12)
    // The difference of two equal sums: half of the digits are noise.
    assertTrue(one.get("residual").doubleValue < 1e-6, one.toString)
    assertEquals(a.flatten.map(x => x * x).sum, one.get("squared_norm").doubleValue, 1e-9)
  }

  @Test def theAnswerIsTheManifest(): Unit = {
    TestMatrix.write(in, Seq(graded(100, 6)))
    val text = Bridge.run(request(""""k": 3, "seed": 42"""))
    assertEquals(text, new String(read(out.resolve(Manifest.Name)), "UTF-8"))
    assertFalse(text.contains("\n"))
    val answer = json(text)
    assertEquals("factors", answer.get("kind").textValue)
    assertEquals("1.1", answer.get("exchange_version").textValue)
    assertEquals("float32", answer.get("dtype").textValue)
    assertEquals("""{"algorithm":"dssvd","k":3,"p":15,"q":1,"seed":42,"want":["s","v"]}""", answer.get("request").toString)
    assertEquals(sha256(read(in.resolve(Manifest.Name))), answer.get("input_sha256").textValue)
    assertEquals(spark.sparkContext.applicationId, answer.get("application_id").textValue)
    assertEquals(1, answer.get("partitions").intValue)
    assertEquals(Seq("read", "decompose", "write"), Json.fieldNames(answer.get("timings_s")))
    assertEquals(0, answer.get("warnings").size)
    val writer = answer.get("writer")
    assertEquals("ctmahout", writer.get("name").textValue)
    assertEquals("spark", writer.get("engine").textValue)
    assertEquals(spark.version, writer.get("spark").textValue)
    assertEquals(org.ctmahout.samsara.incore.Products.blasName, writer.get("blas").textValue, "what executors multiplied by")
    for (key <- Seq("version", "scala", "mahout", "java", "blas")) assertTrue(writer.get(key).isTextual, key)
    // Only what the schema knows, so that a typo does not become a field.
    val schema = json(new java.io.File(contract, "manifest.schema.json")).get("properties")
    Json.fieldNames(answer).foreach(name => assertTrue(schema.has(name), name))
    Json.fieldNames(writer).foreach(name => assertTrue(schema.get("writer").get("properties").has(name), name))
    val known = schema.get("groups").get("items").get("properties")
    Json.fieldNames(group(answer)).foreach(name => assertTrue(known.has(name), name))
    assertEquals(Seq(Manifest.Name, "s", "v"), out.toFile.list.toSeq.sorted)
  }

  @Test def theChecksumsAreThoseOfTheParts(): Unit = {
    TestMatrix.write(in, Seq(graded(60, 5)))
    val answer = run(""""k": 2, "want": ["s", "v", "u"]""")
    for (part <- Seq("s", "v", "u")) {
      val weights = Checksum.weights(2)
      val sum = TestMatrix.part(out, part).map { case ((_, row), values) =>
        if (part == "u") Checksum.ofRow(row, values.toArray.map(_.toFloat), weights) else Checksum.ofRow(row, values.toArray, weights)
      }.sum
      assertEquals(Checksum.hex(sum), group(answer).get("checksums").get(part).textValue, part)
    }
  }

  @Test def partitionsDoNotChangeTheAnswerNorDoesWhereItIsComputed(): Unit = {
    TestMatrix.write(in, Seq(graded(6000, 40)), Dtype.Float64, files = 5)
    val values = for (limit <- Seq("64m", "0"); partitions <- Seq(1, 2, 7)) yield withGroupsUpTo(limit) {
      val answer = run(s""""k": 10, "partitions": $partitions, "overwrite": true, "want": ["s", "v", "u"]""")
      assertTrue(answer.get("partitions").intValue <= partitions)
      (s(), rows("v").flatten, rows("u").flatten)
    }
    for ((s, v, u) <- values.tail) {
      assertArrayEquals(values.head._1, s, 1e-10 * s(0))
      assertArrayEquals(values.head._2, v, 1e-10)
      assertArrayEquals(values.head._3, u, 1e-10)
    }
  }

  @Test def groupsAreDecomposedEachOnItsOwn(): Unit = {
    val matrices = Seq(graded(50, 4, 1), graded(90, 4, 2), graded(20, 4, 3))
    TestMatrix.write(in, matrices, Dtype.Float64)
    val answer = run(""""groups": [2, 0], "want": ["s", "v", "u"]""")
    assertEquals(Seq(0, 2), Json.elements(answer.get("groups")).map(_.get("group").intValue))
    for (g <- Seq(0, 2)) {
      assertArrayEquals(svd(matrices(g)).getSingularValues, s(g), 1e-9)
      assertEquals(matrices(g).length, rows("u", g).length)
    }
    assertEquals(Set(0, 2), TestMatrix.part(out, "v").keySet.map(_._1))
    run(""""overwrite": true""")
    assertArrayEquals(svd(matrices(1)).getSingularValues, s(1), 1e-9)
  }

  private def centred(a: Array[Array[Double]]): Array[Array[Double]] = {
    val means = a.transpose.map(column => column.sum / column.length)
    a.map(_.zip(means).map { case (x, mean) => x - mean })
  }

  @Test def everyAlgorithmDoesItsOwn(): Unit = {
    val a = graded(500, 8).map(_.map(_ + 3))
    TestMatrix.write(in, Seq(a), Dtype.Float64)
    for (algorithm <- Algorithm.all) bothWays { way =>
      val answer = run(s""""overwrite": true, "want": ["s", "v", "u"], "algorithm": "${algorithm.name}"""")
      val of = if (algorithm.isCentred) centred(a) else a
      assertArrayEquals(svd(of).getSingularValues, this.s(), 1e-9, s"${algorithm.name} $way")
      assertEquals(if (algorithm.isCentred) "columns" else "none", answer.get("centring").textValue)
      assertEquals(algorithm.name, answer.get("request").get("algorithm").textValue)
      val one = group(answer)
      assertEquals(of.flatten.map(x => x * x).sum, one.get("squared_norm").doubleValue, 1e-8)
      assertTrue(one.get("residual").doubleValue < 1e-6, one.toString)
      assertTrue(one.get("orthogonality_u").doubleValue < 1e-12, one.toString)
      val (s, u, v) = (this.s(), rows("u"), rows("v"))
      for (i <- of.indices; j <- 0 until 8)
        assertEquals(of(i)(j), (0 until 8).map(c => u(i)(c) * s(c) * v(j)(c)).sum, 1e-9)
    }
  }

  @Test def fewerDirectionsThanAskedForAreAWarning(): Unit = {
    val a = graded(80, 3).map(row => row ++ row)
    TestMatrix.write(in, Seq(a), Dtype.Float64)
    for (algorithm <- Algorithm.all) bothWays { way =>
      val answer = run(s""""overwrite": true, "algorithm": "${algorithm.name}"""")
      assertEquals(3, group(answer).get("rank").intValue, way)
      assertEquals(3, s().length)
      assertTrue(answer.get("warnings").size > 0)
      val expected = svd(if (algorithm.isCentred) centred(a) else a).getSingularValues
      assertArrayEquals(expected.take(3), s(), 1e-8, s"${algorithm.name} $way")
    }
  }

  @Test def aZeroMatrixHasRankZero(): Unit = {
    TestMatrix.write(in, Seq(Array.fill(30)(new Array[Double](4))))
    for (algorithm <- Algorithm.all) bothWays(_ => isOfRankZero(algorithm))
  }

  private def isOfRankZero(algorithm: Algorithm): Unit = {
    val one = group(run(s""""want": ["s", "v", "u"], "overwrite": true, "algorithm": "${algorithm.name}""""))
    assertEquals(0, one.get("rank").intValue)
    assertEquals(0.0, one.get("residual").doubleValue)
    assertEquals(0, s().length)
    assertEquals(Seq.fill(4)(0), rows("v").toSeq.map(_.length))
    assertEquals(30, rows("u").length)
    assertEquals("48218226ff3cd4bf", one.get("checksums").get("s").textValue) // the last vector of checksum.json
  }

  @Test def oneColumnAndASquareMatrixWork(): Unit = {
    TestMatrix.write(in, Seq(gaussian(7, 1)), Dtype.Float64)
    bothWays { way =>
      run(""""overwrite": true""")
      assertArrayEquals(svd(gaussian(7, 1)).getSingularValues, s(), 1e-12, way)
    }
    TestMatrix.write(in, Seq(gaussian(5, 5)), Dtype.Float64)
    bothWays { way =>
      run(""""overwrite": true""")
      assertArrayEquals(svd(gaussian(5, 5)).getSingularValues, s(), 1e-9, way)
    }
  }

  private def refusedRun(code: String, about: String = "")(more: String = ""): Unit = {
    val e = refused(code)(run(more))
    assertTrue(e.getMessage.contains(about), e.getMessage)
  }

  @Test def refusesBeforeItReads(): Unit = {
    refusedRun("CTM_INPUT_NOT_FOUND", s"$in does not exist")()
    Files.createDirectory(in)
    refusedRun("CTM_EXCHANGE_NOT_COMMITTED")()
    TestMatrix.write(in, Seq(gaussian(6, 3), gaussian(9, 3)))
    refusedRun("CTM_RANK_RANGE", "4 components were requested, but group 0 has 6 rows and 3 columns")(""""k": 4""")
    refusedRun("CTM_RANK_RANGE")(""""k": 9223372036854775807""")
    refusedRun("CTM_EXCHANGE_GROUP_UNKNOWN", "has no group 2; its groups are 0, 1")(""""groups": [1, 2]""")
    TestMatrix.write(in, Seq(gaussian(2, 3)))
    refusedRun("CTM_EXCHANGE_WIDE", "group 0 has 2 rows and 3 columns")()
    assertFalse(Files.exists(out))
  }

  @Test def refusesPathsItCannotUse(): Unit = {
    TestMatrix.write(in, Seq(gaussian(6, 3)))
    def asking(input: String, output: String) = Bridge.run(Json.newObject().put("input", input).put("output", output).toString)
    refused("CTM_OUTPUT_IS_INPUT")(asking(in.toString, in.resolve("factors").toString))
    refused("CTM_OUTPUT_IS_INPUT")(asking(in.toString, in.toString + "/"))
    // Hadoop knows the name of s3a, but its class is not here.
    for (uri <- Seq("nonsense://host/m", "s3a://bucket/m")) {
      refused("CTM_STORAGE_CONNECTOR")(asking(uri, out.toString))
      refused("CTM_STORAGE_CONNECTOR")(asking(in.toString, uri))
    }
    refused("CTM_REQUEST_INVALID")(asking("file://host:port/m", out.toString))
    Files.write(folder.resolve("file"), Array[Byte](1))
    refused("CTM_OUTPUT_UNWRITABLE")(asking(in.toString, folder.resolve("file/out").toString))
    // As a URI, with an authority or none.
    asking("file://" + in, "file:" + out)
    assertTrue(Files.exists(out.resolve(Manifest.Name)))
  }

  @Test def badRowsLeaveNoOutput(): Unit = {
    TestMatrix.writeRows(in, Seq(TestMatrix.numbered(gaussian(40, 3)).drop(1)), Seq(40L))
    refusedRun("CTM_EXCHANGE_ROW_MISSING", "row 0 of group 0")()
    assertFalse(Files.exists(out))
  }

  @Test def overwritesOnlyWhenAskedAndOnlyOurs(): Unit = {
    TestMatrix.write(in, Seq(gaussian(6, 3)))
    run(""""k": 1""")
    refusedRun("CTM_OUTPUT_EXISTS", s"$out already exists")()
    assertEquals(1, s().length)
    run(""""k": 2, "overwrite": true""")
    assertEquals(2, s().length)
    // A failing run leaves what was there before.
    TestMatrix.writeRows(in, Seq(TestMatrix.numbered(gaussian(40, 3)).drop(1)), Seq(40L))
    refusedRun("CTM_EXCHANGE_ROW_MISSING")(""""overwrite": true""")
    assertEquals(2, s().length)
    Files.delete(out.resolve(Manifest.Name))
    refusedRun("CTM_OUTPUT_EXISTS")(""""overwrite": true""")
  }

  @Test def worksOnASessionThatIsSetOddlyAndLeavesItAsItWas(): Unit = {
    val odd = spark.newSession()
    val settings = Map(
      "spark.sql.ansi.enabled" -> "true",
      "spark.sql.caseSensitive" -> "true",
      "spark.sql.session.timeZone" -> "Asia/Kathmandu",
      "spark.sql.parquet.enableVectorizedReader" -> "false",
      "spark.sql.parquet.mergeSchema" -> "true",
      "spark.sql.parquet.compression.codec" -> "gzip",
      "spark.sql.files.ignoreCorruptFiles" -> "true",
      "spark.sql.files.maxPartitionBytes" -> "1000",
      "spark.sql.files.maxRecordsPerFile" -> "3",
      "spark.sql.shuffle.partitions" -> "1",
      "spark.sql.sources.default" -> "json",
      "fs.some.key" -> "some value"
    )
    settings.foreach { case (key, value) => odd.conf.set(key, value) }
    val sc = spark.sparkContext
    val before = (odd.conf.getAll, sc.getConf.getAll.toSeq)
    TestMatrix.write(in, Seq(graded(300, 6)), Dtype.Float64)
    SparkSession.setActiveSession(odd)
    sc.setJobGroup("theirs", "their description", interruptOnCancel = false)
    try {
      run()
      assertTrue(SparkSession.getActiveSession.contains(odd))
      assertEquals("theirs", sc.getLocalProperty("spark.jobGroup.id"))
      assertEquals("their description", sc.getLocalProperty("spark.job.description"))
    } finally {
      SparkSession.clearActiveSession()
      sc.clearJobGroup()
    }
    assertEquals(before, (odd.conf.getAll, sc.getConf.getAll.toSeq))
    assertArrayEquals(svd(graded(300, 6)).getSingularValues, s(), 1e-9)
  }

  @Test def versionAnswersWithoutASession(): Unit = {
    val facts = json(Bridge.version())
    for (key <-
        Seq("name", "version", "exchange", "built_for_spark", "built_for_scala", "mahout", "commit", "spark", "scala", "java", "blas"))
      assertTrue(facts.get(key).isTextual, key)
    assertEquals(spark.version, facts.get("spark").textValue)
    assertEquals(scala.util.Properties.versionNumberString, facts.get("scala").textValue)
  }
}
