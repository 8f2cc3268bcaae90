package org.ctmahout.bridge

import java.io.File
import java.nio.file.{Files, Path => File_}

import com.fasterxml.jackson.databind.JsonNode
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.{ColumnarRule, SparkPlan}
import org.ctmahout.bridge.exchange.{Checksum, Dtype, FactorFile, Manifest}
import org.junit.jupiter.api.Assertions.{assertEquals, assertThrows, assertTrue}

/** What the tests share: one session, the contract's folder, and matrix directories made to order. */
private[bridge] object Testing {

  lazy val spark: SparkSession = {
    val session = SparkSession
      .builder()
      .master("local[2]")
      .appName("ctmahout tests")
      .config("spark.ui.enabled", "false")
      .config("spark.sql.warehouse.dir", Files.createTempDirectory("warehouse").toString)
      .withExtensions(_.injectColumnar(_ => Accelerator))
      .getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    session
  }

  /** Groups decomposed in tasks, and each by the whole cluster: both must do all that is asked of either. */
  def bothWays(body: String => Unit): Unit = {
    body("in tasks")
    withGroupsUpTo("0")(body("on the cluster"))
  }

  /** Decomposes groups of so many bytes, as doubles, in tasks, and larger ones on the cluster. */
  def withGroupsUpTo[T](bytes: String)(body: => T): T = {
    spark.conf.set(GroupTasks.Setting, bytes)
    try body
    finally spark.conf.unset(GroupTasks.Setting)
  }

  /** contract/v1, found upwards from wherever the build tool runs the tests. */
  lazy val contract: File = Iterator
    .iterate(new File("").getAbsoluteFile)(_.getParentFile)
    .takeWhile(_ ne null)
    .map(new File(_, "contract/v1"))
    .find(_.isDirectory)
    .getOrElse(throw new AssertionError("contract/v1 is not above the working directory"))

  def json(text: String): JsonNode = Json.mapper.readTree(text)

  def json(file: File): JsonNode = Json.mapper.readTree(file)

  def read(path: File_): Array[Byte] = Files.readAllBytes(path)

  def sha256(bytes: Array[Byte]): String =
    java.security.MessageDigest.getInstance("SHA-256").digest(bytes).map(b => f"${b & 0xff}%02x").mkString

  /** Expects an error of the catalogue, and holds it to the contract's form. */
  def refused(code: String)(body: => Any): CtmahoutException = {
    val e = assertThrows(classOf[CtmahoutException], () => { body; () })
    assertEquals(code, e.code, e.getMessage)
    assertTrue(e.getMessage.startsWith(s"[$code] "), e.getMessage)
    assertTrue(!e.getMessage.contains('\n'), e.getMessage)
    e
  }

  /** The seeds of rows are their numbers, so matrices of any shape are the same wherever they are made. */
  def gaussian(rows: Int, columns: Int, seed: Int = 0): Array[Array[Double]] = Array.tabulate(rows) { i =>
    val random = new java.util.Random(seed * 1000003L + i)
    Array.fill(columns)(random.nextGaussian())
  }

  /** Random, with singular values that fall by a tenth from column to column: well separated. */
  def graded(rows: Int, columns: Int, seed: Int = 0): Array[Array[Double]] =
    gaussian(rows, columns, seed).map(_.zipWithIndex.map { case (x, j) => x * math.pow(0.9, j.toDouble) })
}

/** What a plugin that accelerates queries may do to Spark's plans: put something of its own in the place of a scan. */
private[bridge] object Accelerator extends ColumnarRule {
  @volatile var isOn = false

  override def preColumnarTransitions: Rule[SparkPlan] = new Rule[SparkPlan] {
    override def apply(plan: SparkPlan): SparkPlan =
      if (isOn) throw new IllegalStateException("an accelerator has taken the scan away") else plan
  }
}

/** Writes matrix directories, right ones and, through its parameters, wrong ones. */
private[bridge] object TestMatrix {
  private val conf = {
    val c = new Configuration()
    c.set("fs.file.impl", "org.apache.hadoop.fs.RawLocalFileSystem")
    c.setBoolean("fs.file.impl.disable.cache", true)
    c
  }

  /** Rows with their numbers, so that a test may leave out, repeat or renumber them. */
  type Rows = Seq[(Long, Array[Double])]

  def numbered(matrix: Array[Array[Double]]): Rows = matrix.toSeq.zipWithIndex.map { case (values, i) => (i.toLong, values) }

  def write(directory: File_, matrices: Seq[Array[Array[Double]]], dtype: Dtype = Dtype.Float32, files: Int = 2): String =
    writeRows(directory, matrices.map(numbered), matrices.map(_.length.toLong), dtype, files)

  /** Returns the directory as the text of a request; the manifest says `rows`, whatever rows there are. */
  def writeRows(directory: File_, groups: Seq[Rows], rows: Seq[Long], dtype: Dtype = Dtype.Float32, files: Int = 2): String = {
    val all = for ((group, g) <- groups.zipWithIndex; (row, i) <- group.zipWithIndex) yield (i % files, g, row)
    writeFiles(directory, all, rows, dtype, files)
  }

  /** Rows of several groups, cut into files in the order that they have here. */
  def writeInOrder(
      directory: File_, all: Seq[(Int, (Long, Array[Double]))], rows: Seq[Long], dtype: Dtype, files: Int): String =
    writeFiles(directory, all.zipWithIndex.map { case ((g, row), i) => (i * files / all.size, g, row) }, rows, dtype, files)

  private def writeFiles(
      directory: File_,
      all: Seq[(Int, Int, (Long, Array[Double]))],
      rows: Seq[Long],
      dtype: Dtype,
      files: Int): String = {
    Files.createDirectories(directory)
    directory.toFile.listFiles.foreach(file => Files.delete(file.toPath))
    val parts = Seq.tabulate(files)(i => new FactorFile(new Path(directory.resolve(f"part-$i%05d.parquet").toUri), dtype, conf))
    for ((file, g, (number, values)) <- all) parts(file).write(g, number, values)
    parts.foreach(_.close())
    val columns = all.head._3._2.length
    val json = Json.newObject().put("kind", "matrix").put("exchange_version", "1.0").put("dtype", dtype.name)
    val list = json.putArray("groups")
    for (g <- rows.indices)
      list.addObject().put("group", g).put("rows", rows(g)).put("columns", columns)
        .put("checksum", Checksum.hex(parts.map(_.checksum(g)).sum))
    json.putObject("writer").put("name", "test").put("version", "0")
    manifest(directory, json.toString)
    directory.toString
  }

  def manifest(directory: File_, text: String): Unit = {
    Files.createDirectories(directory)
    Files.write(directory.resolve(Manifest.Name), text.getBytes("UTF-8"))
    ()
  }

  /** A factors part as (group, row) -> values. */
  def part(directory: File_, name: String): Map[(Int, Long), Seq[Double]] = {
    val named = Option(Testing.json(directory.resolve(Manifest.Name).toFile).get("files")).map(Json.elements(_).map(_.textValue))
    val files = named.fold(Seq(name))(_.filter(_.startsWith(name + "/"))).map(file => directory.resolve(file).toString)
    val frame = Testing.spark.newSession().read.parquet(files: _*)
    frame.selectExpr("group", "row", "cast(values as array<double>)").collect().map { r =>
      (r.getInt(0), r.getLong(1)) -> r.getSeq[Double](2)
    }.toMap
  }
}
