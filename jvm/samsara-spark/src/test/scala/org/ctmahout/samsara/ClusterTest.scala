package org.ctmahout.samsara

import java.nio.file.{FileAlreadyExistsException, Files, Path, Paths, StandardOpenOption}
import java.util.Comparator
import java.util.concurrent.atomic.AtomicInteger

import org.apache.mahout.math.Matrix
import org.apache.mahout.math.drm.CacheHint
import org.apache.spark.{SparkContext, TaskContext}
import org.apache.spark.rdd.RDD
import org.apache.spark.scheduler.{SparkListener, SparkListenerExecutorRemoved, SparkListenerTaskEnd}
import org.ctmahout.samsara.incore.Products
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** The same partitions give the same bits: in other processes, and whatever fails on the way. */
class ClusterTest {
  import ClusterTest._

  private val expected = undisturbed // before a test has a Spark of its own

  @Test def executorsInOtherProcessesGiveTheSameBitsAndMayDie(): Unit = {
    val folder = Files.createTempDirectory("samsara-cluster")
    try
      onExecutors { (sc, lost) =>
        val processes = sc.parallelize(0 until 8, 8).map(_ => ProcessHandle.current.pid).collect().toSet
        assertEquals(2, processes.size, "two executors")
        assertFalse(processes.contains(ProcessHandle.current.pid))
        checkSame(Algorithms.map(decomposed(sc, _, rdd => rdd)))
        sc.setLogLevel("OFF")
        for (how <- Seq(Algorithms(0), Algorithms(2))) {
          // What it had cached goes with it.
          val marker = folder.resolve(how.name.replaceAll("\\W+", "-")).toString
          checkSame(Seq(decomposed(sc, how, _.map { block => dying(marker); block })))
          assertTrue(Files.exists(Paths.get(marker)), s"${how.name}: nobody died")
        }
        assertTrue(lost.get >= 2, s"${lost.get} executors were lost")
      }
    finally
      Files.walk(folder).sorted(Comparator.reverseOrder[Path]()).forEach(p => Files.delete(p))
  }

  @Test def tasksThatFailAtTheirFirstAttemptAreNotSeen(): Unit = Local.withSpark("local[2,4]") { sc =>
    val failed = new AtomicInteger
    sc.addSparkListener(new SparkListener {
      override def onTaskEnd(end: SparkListenerTaskEnd): Unit = if (!end.taskInfo.successful) { failed.incrementAndGet(); () }
    })
    sc.setLogLevel("OFF")
    checkSame(Algorithms.map(decomposed(sc, _, _.map { block => failing(); block })))
    assertTrue(failed.get > 10, s"${failed.get} tasks failed")
  }

  /** Two executors in processes of their own, which find their classes where this process does. */
  private def onExecutors(body: (SparkContext, AtomicInteger) => Unit): Unit = Local.withSpark(
    "local-cluster[2,1,1024]",
    "spark.executor.extraClassPath" -> System.getProperty("java.class.path"),
    "spark.executor.extraJavaOptions" -> "--add-modules=jdk.incubator.vector",
    "spark.executor.memory" -> "512m",
    "spark.cores.max" -> "2", // and both are there before the first job
    "spark.scheduler.minRegisteredResourcesRatio" -> "1.0"
  ) { sc =>
    val lost = new AtomicInteger
    sc.addSparkListener(new SparkListener {
      override def onExecutorRemoved(removed: SparkListenerExecutorRemoved): Unit = { lost.incrementAndGet(); () }
    })
    body(sc, lost)
  }

  private def checkSame(found: Seq[Bits]): Unit = for (bits <- found) {
    val same = expected.find(_.name == bits.name).get
    assertEquals(20, same.s.length)
    assertArrayEquals(same.s, bits.s, s"s, ${bits.name}")
    assertArrayEquals(same.v, bits.v, s"V, ${bits.name}")
    assertArrayEquals(same.u, bits.u, s"U, ${bits.name}")
  }
}

private object ClusterTest {
  import HardMatricesTest.{Algorithms => All, Centred, Algorithm => AnyAlgorithm}

  type Rows = (Array[Long], Matrix)
  type Algorithm = AnyAlgorithm
  final case class Bits(name: String, s: Array[Double], v: Array[Double], u: Array[Double])

  /** exact, dssvd with q = 0, 1, 2, dspca with q = 1. */
  val Algorithms: Seq[Algorithm] = All.take(4) :+ Centred(1)

  /** Fails the first attempt of every other task. */
  def failing(): Unit = {
    val task = TaskContext.get()
    if (task.attemptNumber() == 0 && task.partitionId() % 2 == 1) throw new IllegalStateException("injected")
  }

  /** Ends this process, once for each marker, in the last partition of a job that is not the first one. */
  def dying(marker: String): Unit = {
    val (task, first) = (TaskContext.get(), Paths.get(marker + "-first"))
    try { Files.write(first, task.stageId().toString.getBytes, StandardOpenOption.CREATE_NEW); () }
    catch { case _: FileAlreadyExistsException => () }
    val stage = new String(Files.readAllBytes(first))
    if (task.partitionId() == 4 && stage.nonEmpty && stage.toInt < task.stageId())
      try {
        Files.createFile(Paths.get(marker))
        Runtime.getRuntime.halt(1)
      } catch { case _: FileAlreadyExistsException => () }
  }

  private val a = Local.withSpectrum(600, 20, Array.tabulate(20)(i => math.pow(0.5, i.toDouble)), seed = 1)

  /** What local[2] gives. */
  lazy val undisturbed: Seq[Bits] = Algorithms.map(decomposed(Local.sc, _, rdd => rdd))

  /** @param change what is done to the cached rows in every pass */
  def decomposed(sc: SparkContext, how: Algorithm, change: RDD[Rows] => RDD[Rows]): Bits = {
    val context = new ClusterContext(sc)
    val cached = Local.blocks(a, parts = 5).cache()
    try {
      val svd = how.svd(context.drm(change(cached), a.length.toLong, a.head.length), a.head.length)
      val u = svd.u.checkpoint(CacheHint.NONE).collect
      Bits(how.name, svd.s, Products.dense(svd.v).toArray, Products.dense(u).toArray)
    } finally {
      context.close()
      cached.unpersist(blocking = true)
    }
  }
}
