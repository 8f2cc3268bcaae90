package org.ctmahout.bridge

import java.io.IOException

import scala.collection.mutable

import org.apache.hadoop.fs.{FileSystem, Path}
import org.apache.spark.sql.SparkSession

/** One request, from matrix directory to factors directory. */
private[bridge] final class Job(session: SparkSession, request: Request, run: Run) {
  private val sc = session.sparkContext
  private val hadoop = ReadingSession.hadoop(session)
  private val seconds = mutable.LinkedHashMap("read" -> 0.0, "decompose" -> 0.0, "write" -> 0.0)

  /** Does it, and returns the manifest of the factors directory. */
  def answer(): String = {
    val (fs, input) = located("input", request.input)
    val (_, target) = located("output", request.output)
    OutputDirectory.checkApart(input, target)
    val manifest = ExchangeReader.readingFrom(Manifest.shown(input))(Manifest.readMatrix(fs, input))
    val groups = wanted(manifest)
    val output = new OutputDirectory(target, request.overwrite, hadoop)
    output.checkFree()
    val reader = new ExchangeReader(session, fs, manifest)
    val writer = new ExchangeWriter(output)
    try {
      output.create()
      // Several groups wait for each other: each of them keeps the whole cluster busy, if it is large enough to matter.
      val results = groups.map(decompose(_, reader, writer, manifest.dtype))
      val checksums = timed("write")(writeSmall(results, writer))
      run.checkCancelled()
      val answer = Answer.text(request, manifest, results, checksums, seconds.toSeq, sc)
      output.commit(answer)
      answer
    } catch {
      case e: Throwable =>
        output.discard()
        throw e
    }
  }

  private def decompose(
      group: MatrixGroup,
      reader: ExchangeReader,
      writer: ExchangeWriter,
      dtype: Dtype): GroupResult = {
    run.checkCancelled()
    val bytes = group.rows * group.columns * dtype.bytes
    val cached = timed("read")(reader.read(group, request.partitions.getOrElse(automatic(bytes))))
    try {
      run.checkCancelled()
      val k = request.k.fold(group.columns)(_.toInt)
      val factors = timed("decompose")(Decomposition.of(cached, k, request.p, request.q, request.seed))
      run.checkCancelled()
      try {
        val u = if (request.wantU) Some(writeTall(group.group, factors, writer, dtype)) else None
        GroupResult(cached, factors, u)
      } finally factors.release()
    } finally cached.blocks.unpersist()
  }

  private def writeTall(group: Int, factors: Factors, writer: ExchangeWriter, dtype: Dtype): WrittenTall = {
    val u = timed("decompose")(factors.u)
    WrittenTall(u.orthogonality, timed("write")(writer.tall(group, u.rows, dtype)))
  }

  /** Returns the checksums of each group by part. */
  private def writeSmall(results: Seq[GroupResult], writer: ExchangeWriter): Map[Int, Map[String, String]] = {
    val s = writer.small("s", results.map(r => r.group.group -> Array(r.factors.s)))
    val v = writer.small("v", results.map(r => r.group.group -> r.factors.v))
    results.map { r =>
      val g = r.group.group
      g -> (Map("s" -> s(g), "v" -> v(g)) ++ r.u.map("u" -> _.checksum))
    }.toMap
  }

  /** The groups asked for, if all of them can be decomposed. */
  private def wanted(manifest: MatrixManifest): Seq[MatrixGroup] = {
    val path = Manifest.shown(manifest.path)
    manifest.groups.find(g => g.rows < g.columns).foreach { g =>
      throw Errors("CTM_EXCHANGE_WIDE", "path" -> path, "group" -> g.group, "rows" -> g.rows, "columns" -> g.columns)
    }
    val known = manifest.groups.map(g => g.group -> g).toMap
    val groups = request.groups.fold(manifest.groups)(_.map { g =>
      val there = manifest.groups.map(_.group).mkString(", ")
      known.getOrElse(g, throw Errors("CTM_EXCHANGE_GROUP_UNKNOWN", "path" -> path, "group" -> g, "groups" -> there))
    })
    for (k <- request.k; g <- groups if k > g.columns)
      throw Errors("CTM_RANK_RANGE", "given" -> k, "group" -> g.group, "rows" -> g.rows, "columns" -> g.columns)
    groups
  }

  /**
   * Enough partitions to keep every core busy, and none so large that a task would be long to repeat. A multiple of the
   * cores, since three equal tasks on two cores take as long as four.
   */
  private def automatic(bytes: Long): Int = {
    val cores = math.max(1, sc.defaultParallelism)
    val rounds = bytes / (Job.PartitionBytes * cores) + 1
    math.min(rounds * cores, Job.MostPartitions).toInt
  }

  private def located(key: String, text: String): (FileSystem, Path) =
    try {
      val path = new Path(text)
      val fs = path.getFileSystem(hadoop)
      (fs, fs.makeQualified(path))
    } catch {
      case e @ (_: IOException | _: IllegalArgumentException) =>
        val problem = s"$key is $text, which this Spark cannot use (${Errors.detail(e)})"
        throw Errors.because(e, "CTM_REQUEST_INVALID", "problem" -> problem)
    }

  private def timed[T](phase: String)(body: => T): T = {
    val start = System.nanoTime()
    try body
    finally seconds(phase) += (System.nanoTime() - start) / 1e9
  }
}

private[bridge] object Job {
  private val PartitionBytes = 128L << 20
  private val MostPartitions = 100000L
}

/** A decomposed group, its U written if it was wanted. */
private[bridge] final case class GroupResult(cached: CachedGroup, factors: Factors, u: Option[WrittenTall]) {
  def group: MatrixGroup = cached.group
}

private[bridge] final case class WrittenTall(orthogonality: Double, checksum: String)
