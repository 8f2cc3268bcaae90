package org.ctmahout.bench

import java.lang.management.ManagementFactory
import java.nio.file.{Files, Paths}
import java.util.concurrent.atomic.AtomicLong

import com.fasterxml.jackson.databind.node.{JsonNodeFactory, ObjectNode}
import com.sun.management.OperatingSystemMXBean
import org.apache.spark.SparkContext
import org.apache.spark.bench.Listeners
import org.apache.spark.scheduler.{SparkListener, SparkListenerJobStart, SparkListenerTaskEnd}

/**
 * What a piece of work costs: CPU seconds of this whole JVM, its compiler and garbage collector included, and what Spark
 * did for it.
 */
private[bench] final class Meter(sc: SparkContext) {
  private val jobs = new AtomicLong
  private val shuffled = new AtomicLong
  private val inTasks = new AtomicLong

  sc.addSparkListener(new SparkListener {
    override def onJobStart(event: SparkListenerJobStart): Unit = { jobs.incrementAndGet(); () }
    override def onTaskEnd(event: SparkListenerTaskEnd): Unit = for (m <- Option(event.taskMetrics)) {
      shuffled.addAndGet(m.shuffleWriteMetrics.bytesWritten + m.shuffleReadMetrics.totalBytesRead)
      inTasks.addAndGet(event.taskInfo.duration)
    }
  })

  def apply(work: => Unit): ObjectNode = {
    Listeners.settle(sc)
    jobs.set(0)
    shuffled.set(0)
    inTasks.set(0)
    val before = sc.getPersistentRDDs.keys.toSet
    val (cpu, wall) = (Meter.cpuNanos, System.nanoTime())
    work
    val (cpuEnd, wallEnd) = (Meter.cpuNanos, System.nanoTime())
    Listeners.settle(sc)
    JsonNodeFactory.instance
      .objectNode()
      .put("cpu_s", (cpuEnd - cpu) / 1e9)
      .put("wall_s", (wallEnd - wall) / 1e9)
      .put("jobs", jobs.get)
      .put("shuffle_bytes", shuffled.get)
      .put("task_s", inTasks.get / 1e3)
      .put("leaked_rdds", sc.getPersistentRDDs.keys.count(!before(_)))
  }
}

private[bench] object Meter {
  private val system = ManagementFactory.getOperatingSystemMXBean.asInstanceOf[OperatingSystemMXBean]

  private def cpuNanos: Long = system.getProcessCpuTime

  /** Peak resident memory of this process as the kernel counts it. */
  def peakMib: Long = {
    val status = new String(Files.readAllBytes(Paths.get("/proc/self/status")), "UTF-8")
    """VmHWM:\s+(\d+) kB""".r.findFirstMatchIn(status).fold(0L)(_.group(1).toLong / 1024)
  }
}
