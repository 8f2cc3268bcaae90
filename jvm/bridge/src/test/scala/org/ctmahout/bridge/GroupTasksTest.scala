package org.ctmahout.bridge

import java.nio.file.{Files, Path => File_}
import java.util.concurrent.atomic.AtomicInteger

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.Path
import org.apache.spark.{SparkException, TaskContext}
import org.apache.spark.scheduler.{SparkListener, SparkListenerJobStart}
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{Dtype, ExchangeWriter, Gathering, Manifest, MatrixGroup, OutputDirectory, Values}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertArrayEquals, assertEquals, assertFalse, assertThrows, assertTrue}
import org.junit.jupiter.api.io.TempDir

/** Many groups in one directory: what is special about those that are decomposed in tasks. */
class GroupTasksTest {
  @TempDir var folder: File_ = _

  private def in: File_ = folder.resolve("matrix")
  private def out: File_ = folder.resolve("factors")

  @org.junit.jupiter.api.BeforeEach
  def session(): Unit = assertFalse(spark.sparkContext.isStopped)

  private def run(more: String = """"want": ["s", "v", "u"]"""): String =
    Bridge.run(s"""{"input": "$in", "output": "$out", "overwrite": true, $more}""")

  private def parts: Map[String, Map[(Int, Long), Seq[Double]]] = Seq("s", "v", "u").map(p => p -> TestMatrix.part(out, p)).toMap

  private def matrices(count: Int) = Seq.tabulate(count)(g => graded(20 + g % 7, 5, g))

  /** Rows of all groups in one file after the other, in any order: hardly a group is whole in a partition. */
  private def scattered(count: Int, files: Int): Unit = {
    val random = new scala.util.Random(7)
    val groups = matrices(count).map(TestMatrix.numbered)
    val rows = random.shuffle(for ((rows, g) <- groups.zipWithIndex; row <- rows) yield (g, row))
    TestMatrix.writeInOrder(in, rows, groups.map(_.length.toLong), Dtype.Float64, files)
  }

  @Test def groupsMeetWhereverTheirRowsAre(): Unit = {
    TestMatrix.write(in, matrices(40), Dtype.Float64, files = 1)
    run()
    val together = parts
    scattered(40, files = 4)
    for (partitions <- Seq(1, 3)) {
      run(s""""partitions": $partitions, "want": ["s", "v", "u"]""")
      for ((part, values) <- parts) {
        assertEquals(together(part).keySet, values.keySet)
        for ((key, row) <- values) assertArrayEquals(together(part)(key).toArray, row.toArray, 1e-10, s"$part $key")
      }
    }
  }

  @Test def theSameRunGivesTheSameBits(): Unit = {
    scattered(40, files = 4)
    run(""""partitions": 3, "want": ["s", "v", "u"]""")
    val first = parts
    run(""""partitions": 3, "want": ["s", "v", "u"]""")
    assertEquals(first, parts)
  }

  @Test def thousandsAreOneJob(): Unit = {
    TestMatrix.write(in, Seq.tabulate(2000)(g => gaussian(6, 3, g)))
    val jobs = new AtomicInteger
    val listener = new SparkListener {
      override def onJobStart(start: SparkListenerJobStart): Unit = { jobs.incrementAndGet(); () }
    }
    spark.sparkContext.addSparkListener(listener)
    try run()
    finally spark.sparkContext.removeSparkListener(listener)
    assertTrue(jobs.get <= 2, s"${jobs.get} jobs") // the footers, and the groups
    assertEquals(2000, TestMatrix.part(out, "s").size)
    assertEquals(6000, TestMatrix.part(out, "v").size)
    assertEquals(12000, TestMatrix.part(out, "u").size)
    for (part <- Seq("v", "u")) // a file for each task
      assertTrue(out.resolve(part).toFile.list.length <= 4, out.resolve(part).toFile.list.mkString(" "))
  }

  @Test def largeAndSmallStandSideBySide(): Unit = {
    val groups = Seq(graded(40, 5, 1), graded(4000, 5, 2), graded(30, 5, 3))
    TestMatrix.write(in, groups, Dtype.Float64)
    run()
    val inTasks = parts
    withGroupsUpTo("100k")(run())
    for ((part, values) <- parts; (key, row) <- values)
      assertArrayEquals(inTasks(part)(key).toArray, row.toArray, 1e-10, s"$part $key")
  }

  @Test def whatATaskThatFailsHasWrittenIsRemoved(): Unit = {
    val output = new OutputDirectory(new Path("file:" + out), false, new Configuration(false))
    output.create()
    val writer = new ExchangeWriter(output, Dtype.Float64, wantU = true)
    writer.prepare()
    val tasks = writer.tasks
    def write(fails: Boolean) = spark.sparkContext.parallelize(Seq(1), 1).map { _ =>
      val u = new tasks.TaskU("read", TaskContext.get())
      val (_, file) = (0 to 2).map(group => u.write(group, Iterator((0L, Array(1.0))))).last
      if (fails) throw new IllegalStateException("a task fails")
      u.close()
      file
    }.collect().toSeq
    assertThrows(classOf[SparkException], () => { write(fails = true); () })
    val u = folder.resolve(output.partial.getName).resolve("u").toFile
    assertEquals(Nil, u.list.toSeq)
    assertEquals(write(fails = false).map(_.name), u.list.toSeq.map("u/" + _))
    output.discard()
  }

  private def refusedWith(code: String, about: String)(groups: Seq[TestMatrix.Rows], rows: Seq[Long]): Unit =
    for (partitions <- Seq(1, 4); limit <- Seq("64m", "1k", "0")) {
      TestMatrix.writeRows(in, groups, rows, Dtype.Float64, files = 3)
      val e = withGroupsUpTo(limit)(refused(code)(run(s""""partitions": $partitions""")))
      assertTrue(e.getMessage.contains(about), e.getMessage)
      assertFalse(Files.exists(out))
      assertEquals(Seq("matrix"), folder.toFile.list.toSeq)
    }

  @Test def theFirstBadGroupIsNamedHoweverItIsDecomposed(): Unit = {
    // Group 1 is too large for a task in one of the runs, group 2 never is.
    val groups = Seq(graded(10, 3), graded(200, 3), graded(10, 3)).map(TestMatrix.numbered)
    val broken = groups.updated(1, groups(1).map { case (row, values) => if (row == 7) (row, Array(0, Double.NaN, 0)) else (row, values) })
      .updated(2, groups(2).init)
    refusedWith("CTM_EXCHANGE_NOT_FINITE", "row 7 of group 1")(broken, Seq(10, 200, 10))
  }

  @Test def aRowThatComesAgainAfterItsGroupIsDoneIsNoticed(): Unit = {
    val group = TestMatrix.numbered(graded(30, 3))
    refusedWith("CTM_EXCHANGE_ROW_DUPLICATE", "row 4 of group 1")(Seq(group, group ++ Seq(group(9), group(4)), group), Seq(30, 30, 30))
  }

  @Test def aGroupWithoutRowsMissesItsFirst(): Unit = {
    TestMatrix.write(in, Seq(graded(30, 3)), Dtype.Float64)
    val text = new String(read(in.resolve(Manifest.Name)), "UTF-8")
    val more = text.replace("\"groups\":[", "\"groups\":[{\"group\":5,\"rows\":9,\"columns\":3,\"checksum\":\"0000000000000000\"},")
    TestMatrix.manifest(in, more)
    bothWays { way =>
      val e = refused("CTM_EXCHANGE_ROW_MISSING")(run())
      assertTrue(e.getMessage.contains("row 0 of group 5 is missing (0 rows, expected 9)"), way + ": " + e.getMessage)
    }
  }

  @Test def aPartitionHoldsNoMoreThanATaskMay(): Unit = {
    val groups = Seq.tabulate(3)(g => g -> MatrixGroup(g, 1L << 40, 1 << 20, "")).toMap
    val gathering = new Gathering(groups, Values.Doubles)
    val values = org.apache.spark.sql.catalyst.util.ArrayData.toArrayData(new Array[Double](1 << 20))
    val rows = Iterator.from(0).map(i => org.apache.spark.sql.catalyst.InternalRow(i % 3, i.toLong, values))
    val added = rows.takeWhile { row => gathering.add(row); !gathering.isHeavy }.size
    assertEquals(32, added)
    val drained = gathering.drain().toSeq
    assertEquals(33, drained.map(_._2.rows.length).sum)
    assertEquals(Seq(0, 1, 2), drained.map(_._1).distinct)
    assertFalse(gathering.isHeavy)
    assertEquals(0, gathering.drain().size)
  }
}
