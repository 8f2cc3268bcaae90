package org.ctmahout.bridge

import java.io.IOException
import java.util.concurrent.ConcurrentHashMap

import scala.collection.mutable

import org.apache.hadoop.fs.{FileSystem, Path}
import org.apache.spark.sql.SparkSession
import org.ctmahout.bridge.exchange._
import org.ctmahout.samsara.ClusterContext

/** One request, from matrix directory to factors directory. */
private[bridge] final class Job(session: SparkSession, request: Request, run: Run) {
  private val sc = session.sparkContext
  private val hadoop = ReadingSession.hadoop(session)
  private var partitions = 1
  private val seconds = mutable.LinkedHashMap("read" -> 0.0, "decompose" -> 0.0, "write" -> 0.0)

  /** Answers the request, and returns the manifest of the factors directory. */
  def answer(): String = {
    val (fs, input) = located("input", request.input)
    val (_, target) = located("output", request.output)
    OutputDirectory.checkApart(input, target)
    val manifest = ExchangeReader.readingFrom(Manifest.shown(input))(Manifest.readMatrix(fs, input))
    val groups = Job.wanted(request, manifest)
    val output = new OutputDirectory(target, request.overwrite, hadoop)
    output.checkFree()
    val reader = new ExchangeReader(session, fs, manifest)
    val writer = new ExchangeWriter(output, manifest.dtype, request.wantU)
    try {
      output.create()
      writer.prepare()
      val (small, large) = groups.partition(GroupTasks.fit(session))
      val results = (inTasks(small, large, reader, writer) ++ onCluster(large, reader, writer)).sortBy(_.group.group)
      Job.checkKernels(results.flatMap(_.kernels).toSet)
      val s = timed("write")(writer.singularValues(results.map(r => r.group.group -> r.s)))
      run.checkCancelled()
      val answer = Answer.text(request, manifest, results, s, writer.files, partitions, seconds.toSeq, sc)
      output.commit(answer)
      answer
    } catch {
      case e: Throwable =>
        output.discard()
        throw e
    }
  }

  /** Groups that fit in a task, all in one Spark job. */
  private def inTasks(
      small: Seq[MatrixGroup],
      large: Seq[MatrixGroup],
      reader: ExchangeReader,
      writer: ExchangeWriter): Seq[GroupResult] =
    if (small.isEmpty) Nil
    else {
      run.checkCancelled()
      val automatically = math.min(automatic(reader.manifest.bytes(small)), small.size)
      val rows = timed("read")(reader.rows(small, request.partitions.getOrElse(automatically), whole = true))
      partitions = rows.getNumPartitions
      val tasks =
        new GroupTasks(reader.path, small.map(g => g.group -> g).toMap, reader.manifest.dtype, request, writer.tasks)
      val outcomes = timed("decompose")(ExchangeReader.readingFrom(reader.path)(tasks.outcomes(rows)))
      val known = outcomes.map(_.fold(_.group, _.group.group)).toSet
      val empty = small.filterNot(g => known(g.group)).flatMap(GroupCheck.empty(reader.path, _))
      (outcomes.flatMap(_.left.toOption) ++ empty).sortBy(_.group).headOption.foreach { refusal =>
        // Of several bad groups the first is reported, however it would have been decomposed.
        large.filter(_.group < refusal.group).foreach(check(_, reader))
        throw refusal.error
      }
      val results = outcomes.flatMap(_.toOption)
      writer.keep(results.flatMap(_.files))
      results
    }

  /** Groups that take a cluster, or all cores of this machine: some side by side. */
  private def onCluster(large: Seq[MatrixGroup], reader: ExchangeReader, writer: ExchangeWriter): Seq[GroupResult] = {
    val start = System.nanoTime()
    val before = seconds.toMap
    val results = SideBySide.map(sc, large, reader.fitting(large, Job.MostSideBySide))(onCluster(_, reader, writer))
    // Seconds of threads side by side are scaled to the time that has passed.
    val wall = (System.nanoTime() - start) / 1e9
    val spent = seconds.map { case (phase, s) => phase -> (s - before(phase)) }
    if (spent.values.sum > wall) for ((phase, s) <- spent) seconds(phase) = before(phase) + s * wall / spent.values.sum
    results
  }

  // All groups that are open: the memory they will take is known before they take it.
  private val opened = ConcurrentHashMap.newKeySet[CachedGroup]()

  private def promisedBytes(): Long = {
    var sum = 0L
    opened.forEach(cached => sum += cached.promisedBytes)
    sum
  }

  private def onCluster(group: MatrixGroup, reader: ExchangeReader, writer: ExchangeWriter): GroupResult = {
    run.checkCancelled()
    val cached = timed("read")(open(group, reader))
    opened.add(cached)
    val samsara = new ClusterContext(sc, keepsSketch = request.wantU, promisedBytes = () => promisedBytes())
    try {
      synchronized { partitions = math.max(partitions, cached.blocks.getNumPartitions) }
      val a = samsara.drm[Long](cached.blocks.map(Decomposition.block(_, group.columns)), group.rows, group.columns)
      val (svd, squaredNormOfA) = timed("decompose")(cached.checked(Decomposition.of(a, request)))
      run.checkCancelled()
      val squaredNorm = Decomposition.squaredNorm(group.rows, squaredNormOfA, svd)
      val v = timed("write")(writer.narrow(group.group, Decomposition.v(svd)))
      val u = if (request.wantU) Some(timed("write")(writer.tall(group.group, Decomposition.u(svd)))) else None
      val checksums = Map(ExchangeWriter.V -> v) ++ u.map { case (sum, _) => ExchangeWriter.U -> sum }
      GroupResult(group, svd.s, squaredNorm, svd.orthogonality, u.map(_._2), checksums, svd.warnings, cached.kernels)
    } finally {
      samsara.close()
      opened.remove(cached)
      cached.free()
    }
  }

  private def open(group: MatrixGroup, reader: ExchangeReader): CachedGroup =
    reader.open(group, request.partitions.getOrElse(automatic(reader.manifest.bytes(Seq(group)))))

  private def check(group: MatrixGroup, reader: ExchangeReader): Unit = {
    val cached = open(group, reader)
    try {
      cached.checked(())
      ()
    } finally cached.free()
  }

  /**
   * Enough partitions to keep every core busy, and none so large that a task would be long to repeat or the last ones would
   * leave cores without work. A multiple of the cores, since three equal tasks on two cores take as long as four.
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
      case e: Throwable if Errors.lacksFileSystem(e) =>
        throw Errors.because(e, "CTM_STORAGE_CONNECTOR", "location" -> text, "problem" -> Errors.rootDetail(e))
      case e @ (_: IOException | _: IllegalArgumentException) =>
        val problem = s"$key is $text, which this Spark cannot use (${Errors.detail(e)})"
        throw Errors.because(e, "CTM_REQUEST_INVALID", "problem" -> problem)
    }

  private def timed[T](phase: String)(body: => T): T = {
    val start = System.nanoTime()
    try body
    finally synchronized { seconds(phase) += (System.nanoTime() - start) / 1e9 }
  }
}

private[bridge] object Job {
  private val PartitionBytes = 64L << 20
  private val MostPartitions = 100000L
  private val MostSideBySide = 8

  /** The groups asked for, if all of them can be decomposed. */
  private[bridge] def wanted(request: Request, manifest: MatrixManifest): Seq[MatrixGroup] = {
    val path = Manifest.shown(manifest.path)
    manifest.groups.find(g => g.rows < g.columns).foreach { g =>
      throw Errors("CTM_EXCHANGE_WIDE", "path" -> path, "group" -> g.group, "rows" -> g.rows, "columns" -> g.columns)
    }
    val known = manifest.groups.map(g => g.group -> g).toMap
    // Once for all that are asked for: of a hundred thousand groups the list alone takes 50 ms.
    lazy val there = manifest.groups.map(_.group).mkString(", ")
    val groups = request.groups.fold(manifest.groups)(_.map { g =>
      known.getOrElse(g, throw Errors("CTM_EXCHANGE_GROUP_UNKNOWN", "path" -> path, "group" -> g, "groups" -> there))
    })
    for (k <- request.k; g <- groups if k > g.columns)
      throw Errors("CTM_RANK_RANGE", "given" -> k, "group" -> g.group, "rows" -> g.rows, "columns" -> g.columns)
    groups
  }

  /** Rows of U are right only if they are multiplied by the same kernel as the sums over them, to the last bit. */
  private[bridge] def checkKernels(kernels: Set[String]): Unit =
    if (kernels.size > 1)
      throw Errors(
        "CTM_ENGINE_FAILED",
        "engine" -> "spark",
        "detail" ->
          (s"executors multiply by different means, ${kernels.toSeq.sorted.mkString(" and ")}: they need the same Java with the same " +
            "options, for instance --add-modules=jdk.incubator.vector in spark.executor.extraJavaOptions")
      )
}
