package org.ctmahout.samsara

import java.nio.file.{Files, Path}

import scala.util.Random

import org.apache.mahout.math.Matrix
import org.apache.spark.{SparkConf, SparkContext}
import org.apache.spark.rdd.RDD

/** One local Spark for the suites of this JVM, with its default serializer, as a user's session would be. */
object Local {
  private var running: Option[SparkContext] = None

  /** Started when it is first used, and again after a suite had one of its own. */
  def sc: SparkContext = synchronized {
    running.filterNot(_.isStopped).getOrElse(started("local[2]"))
  }

  /** A Spark of another kind, instead of the one that runs: a JVM has one at a time. */
  def withSpark[T](master: String, settings: (String, String)*)(body: SparkContext => T): T = synchronized {
    running.foreach(_.stop())
    val sc = started(master, settings: _*)
    try body(sc)
    finally sc.stop()
  }

  private def started(master: String, settings: (String, String)*): SparkContext = {
    val conf = new SparkConf().setMaster(master).setAppName("samsara-spark tests")
    for ((key, value) <- settings) conf.set(key, value)
    val sc = new SparkContext(conf)
    sc.setLogLevel("ERROR")
    running = Some(sc)
    sc
  }

  /** Without Spark's log of an error that is expected. */
  def quietly[T](body: => T): T = {
    sc.setLogLevel("OFF")
    try body
    finally sc.setLogLevel("ERROR")
  }

  def withContext[T](body: ClusterContext => T): T = {
    val before = sc.getPersistentRDDs.keySet
    val context = new ClusterContext(sc)
    try body(context)
    finally {
      context.close()
      assert(sc.getPersistentRDDs.keySet == before, "what the engine stored must be given back")
    }
  }

  /** Jobs of Spark, each of which passes over its input once; and shuffles between their stages. */
  final case class Jobs(passes: Int, shuffles: Int)

  /** What `body` has Spark do. */
  def jobsOf(body: => Any): Jobs = {
    val tracker = sc.statusTracker
    def in(group: String)(body: => Any): Unit = {
      sc.setJobGroup(group, "jobs that are counted")
      try body
      finally sc.clearJobGroup()
    }
    val (counted, after) = (s"counted ${System.nanoTime()}", s"after ${System.nanoTime()}")
    in(counted)(body)
    // Spark learns of its jobs a little later, in their order: once it knows of this one it knows of those before.
    in(after)(sc.parallelize(Seq(1), 1).count())
    while (tracker.getJobIdsForGroup(after).isEmpty) Thread.sleep(10)
    val jobs = tracker.getJobIdsForGroup(counted)
    Jobs(jobs.length, jobs.flatMap(tracker.getJobInfo(_)).map(_.stageIds.length - 1).sum)
  }

  /** Rows in blocks of `height`, over `parts` partitions. */
  def blocks(a: Array[Array[Double]], parts: Int, height: Int = 37, floats: Boolean = false): RDD[(Array[Long], Matrix)] = {
    val n = a.head.length
    val pieces = a.indices.grouped(height).map { rows =>
      val m: Matrix =
        if (floats) new FloatBlock(rows.length, n, rows.toArray.flatMap(i => a(i).map(_.toFloat)))
        else new DenseBlock(rows.length, n, rows.toArray.flatMap(i => a(i)))
      (rows.map(_.toLong).toArray, m)
    }.toSeq
    sc.parallelize(pieces, parts)
  }

  /** A file of the repository, by its path there. */
  def find(name: String): String = {
    val folders = Iterator.iterate(Path.of("").toAbsolutePath)(_.getParent).takeWhile(_ != null)
    Files.readString(folders.map(_.resolve(name)).find(f => Files.exists(f)).get)
  }

  def gaussian(m: Int, n: Int, seed: Int): Array[Array[Double]] = {
    val random = new Random(seed)
    Array.fill(m, n)(random.nextGaussian())
  }

  /** Orthonormal columns by modified Gram-Schmidt, twice. */
  def orthonormal(m: Int, n: Int, seed: Int): Array[Array[Double]] = {
    val q = gaussian(m, n, seed).transpose
    for (_ <- 0 until 2; j <- 0 until n) {
      for (i <- 0 until j) {
        val d = q(i).indices.map(r => q(i)(r) * q(j)(r)).sum
        for (r <- 0 until m) q(j)(r) -= d * q(i)(r)
      }
      val length = math.sqrt(q(j).map(x => x * x).sum)
      for (r <- 0 until m) q(j)(r) /= length
    }
    q.transpose
  }

  /** A matrix with these singular values. */
  def withSpectrum(m: Int, n: Int, s: Array[Double], seed: Int): Array[Array[Double]] = {
    val (u, v) = (orthonormal(m, s.length, seed), orthonormal(n, s.length, seed + 1))
    Array.tabulate(m, n)((i, j) => s.indices.map(r => u(i)(r) * s(r) * v(j)(r)).sum)
  }
}
