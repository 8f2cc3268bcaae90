package org.ctmahout.samsara

import java.nio.file.{Files, Path}

import scala.reflect.ClassTag

import org.apache.mahout.common.RandomUtils
import org.apache.mahout.math.{DenseMatrix, Matrices, Matrix, SparseRowMatrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.function.IntIntFunction
import org.ctmahout.samsara.blocks.{Passes, Piece, Place}
import org.ctmahout.samsara.incore.Products
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.io.TempDir

/** What Mahout asks of an engine beside operators: matrices from here and there, keys, samples. */
class EngineCallsTest {
  import Local._

  private val a = gaussian(23, 4, seed = 1)

  import EngineCallsTest.rows
  private def checkRows(expected: Array[Array[Double]], found: Matrix): Unit = {
    assertEquals(expected.length, found.rowSize)
    for (i <- expected.indices) assertArrayEquals(expected(i), rows(found)(i), s"row $i")
  }
  private def labelled(x: Array[Array[Double]], labels: Int => String): Matrix = {
    val m = new DenseMatrix(x)
    m.setRowLabelBindings(Passes.bindings(x.indices.map(i => (labels(i), i))))
    m
  }
  private def withHere[T](body: DistributedContext => T): T = withContext(body(_))

  @Test def labelsComeBack(): Unit = withHere { implicit here =>
    val drm = drmParallelizeWithRowLabels(labelled(a, i => s"slice $i"), 3)
    val found = drm.collect
    checkRows(a, found)
    assertEquals(7, found.getRowLabelBindings.get("slice 7"))
    for ((label, sum) <- drm.rowSumsMap()) assertEquals(a(label.drop(6).toInt).sum, sum, 1e-12)
    val e = assertThrows(classOf[IllegalArgumentException], () => { drmParallelizeWithRowLabels(new DenseMatrix(a)); () })
    assertTrue(e.getMessage.contains("row 0"))
  }

  @Test def emptyMatricesAreZeros(): Unit = withHere { implicit here =>
    checkRows(Array.fill(7, 3)(0.0), drmParallelizeEmpty(7, 3, 4).collect)
    checkRows(Array.fill(7, 3)(2.5), (drmParallelizeEmpty(7, 3) + 2.5).collect)
    val long = drmParallelizeEmptyLong(3000000000L, 1, 6)
    assertEquals(3000000000L, long.nrow)
    assertEquals(1048576.0, (drmParallelizeEmptyLong(1L << 20, 1) + 1.0).colSums().get(0))
    assertEquals(0, drmParallelizeEmpty(0, 3).collect.rowSize)
    assertEquals(0.0, drmParallelizeEmpty(0, 3).colMeans().norm(1), "as in Mahout 14.1")
  }

  @Test def missingRowsAreZeros(): Unit = withContext { context =>
    val some = blocks(a, parts = 3, height = 4).filter(_._1.head % 8 == 0)
    val there = a.zipWithIndex.map { case (row, i) => if (i / 4 % 2 == 0) row else row.map(_ => 0.0) } ++ Array.fill(5, 4)(0.0)
    val drm = context.drm(some, 28, 4, canHaveMissingRows = true)
    checkRows(there, drm.collect)
    checkRows(there.map(_.map(_ + 1)), (drm + 1.0).collect)
    checkRows(there.map(_ :+ 1.0), (drm cbind 1.0).collect)
    val twice = context.drm(blocks(a, 2).union(blocks(a.take(3), 1)), 23, 4, canHaveMissingRows = true)
    val e = assertThrows(classOf[IllegalArgumentException], () => { (twice + 1.0).collect; () })
    assertTrue(e.getMessage.contains("two rows have the key 0"))
  }

  @Test def missingRowsAreZerosInDecompositionsToo(): Unit = withContext { context =>
    val some = blocks(a.map(_.map(_ + 5)), parts = 3, height = 4).filter(_._1.head % 8 == 0)
    val there = a.zipWithIndex.map { case (row, i) => if (i / 4 % 2 == 0) row.map(_ + 5) else row.map(_ => 0.0) }
    val (gaps, whole) =
      (context.drm(some, 23, 4, canHaveMissingRows = true), context.drm(blocks(there, parts = 3, height = 4), 23, 4))
    for (how <- HardMatricesTest.OnCluster) {
      val (x, y) = (how.svd(gaps, 4), how.svd(whole, 4))
      assertArrayEquals(y.s, x.s, 1e-10, s"s, ${how.name}")
      assertArrayEquals(rows(y.u.collect).flatten, rows(x.u.collect).flatten, 1e-10, s"U, ${how.name}")
    }
    // Of rank three: what is left of the fourth direction is rounding.
    val (deficient, k) = (a.map(row => row.updated(3, row(0))), 4)
    for (how <- HardMatricesTest.OnCluster.take(2)) {
      val gaps = context.drm(blocks(deficient.take(8), parts = 2, height = 4), 23, 4, canHaveMissingRows = true)
      assertEquals(3, how.svd(gaps, k).rank)
    }
  }

  @Test def moreRowsAreZerosToo(): Unit = withHere { implicit here =>
    val drm = drmParallelize(new DenseMatrix(a), 2)
    val taller = drm.newRowCardinality(25)
    checkRows(a ++ Array.fill(2, 4)(0.0), taller.collect)
    checkRows((a ++ Array.fill(2, 4)(0.0)).map(_.map(_ - 1)), (taller - 1.0).collect)
    assertEquals(25, (drm.t %*% drm).checkpoint().newRowCardinality(25).collect.rowSize)
    assertThrows(classOf[IllegalArgumentException], () => { drm.newRowCardinality(22); () })
    val labels = drmParallelizeWithRowLabels(labelled(a, i => s"$i"))
    assertThrows(classOf[UnsupportedOperationException], () => { labels.newRowCardinality(25); () })
  }

  @Test def labelsBecomeNumbers(): Unit = withHere { implicit here =>
    val drm = drmParallelizeWithRowLabels(labelled(a, i => s"r$i"), 4)
    val (numbered, map) = drm2IntKeyed(drm, computeMap = true)
    checkRows(a, numbered.collect)
    val numbers = map.get.collect
    for (i <- a.indices) assertEquals(i.toDouble, numbers.get(numbers.getRowLabelBindings.get(s"r$i"), 0))
    checkRows(rows((numbered.t).collect).transpose, numbered.collect)
    val ints = drmParallelize(new DenseMatrix(a))
    assertSame(ints, drm2IntKeyed(ints, computeMap = true)._1)
    assertTrue(drm2IntKeyed(ints, computeMap = true)._2.isEmpty)
  }

  @Test def samplesDependOnTheSeedOnly(): Unit = withHere { implicit here =>
    val tall = gaussian(2000, 2, seed = 3)
    def sample[K](drm: DrmLike[K], seed: Long, replacement: Boolean) = {
      RandomUtils.seedNext(seed)
      rows(drmSampleRows(drm, 0.2, replacement).collect).map(_.toSeq).toSeq
    }
    def sampleK[K](drm: DrmLike[K], seed: Long, k: Int, replacement: Boolean) = {
      RandomUtils.seedNext(seed)
      rows(drmSampleKRows(drm, k, replacement)).map(_.toSeq).toSeq
    }
    val (few, many) = (drmParallelize(new DenseMatrix(tall), 2), drmParallelize(new DenseMatrix(tall), 9))
    for (replacement <- Seq(false, true)) {
      assertEquals(sample(few, 5, replacement), sample(many, 5, replacement))
      assertNotEquals(sample(few, 5, replacement), sample(few, 6, replacement))
      assertEquals(400.0, sample(few, 5, replacement).size.toDouble, 100.0)
      assertEquals(sampleK(few, 5, 50, replacement), sampleK(many, 5, 50, replacement))
      assertNotEquals(sampleK(few, 5, 50, replacement), sampleK(few, 6, 50, replacement))
      assertEquals(50, sampleK(few, 5, 50, replacement).size)
    }
    assertEquals(50, sampleK(few, 5, 50, replacement = false).distinct.size)
    assertEquals(tall.map(_.toSeq).toSet, sampleK(few, 1, 9999, replacement = false).toSet)
    assertTrue(sampleK(few, 1, 5000, replacement = true).distinct.size < 2000)
    // exp(-mean) is no number any more.
    RandomUtils.seedNext(7)
    assertEquals(20000.0, drmSampleRows(drmParallelize(new DenseMatrix(tall.take(20)), 2), 1000.0, replacement = true).nrow.toDouble, 800.0)
    val labels = drmParallelizeWithRowLabels(labelled(tall, i => s"r$i"), 3)
    assertEquals(sampleK(labels, 5, 20, replacement = true), sampleK(labels.par(exact = 7), 5, 20, replacement = true))
    assertThrows(classOf[UnsupportedOperationException], () => { sample(labels, 1, replacement = true); () })
    RandomUtils.seedNext(1)
    assertEquals(20, drmSampleToTSV(few, 1).count(_ == '\n'))
  }

  @Test def anotherHintAfterParIsNoMatter(): Unit = withContext { context =>
    val drm = context.drm(blocks(a, parts = 2), 23, 4)
    val sum = (drm + 1.0).checkpoint(CacheHint.NONE)
    sum.checkpoint(CacheHint.MEMORY_ONLY).norm()
    checkRows(a.map(_.map(_ + 1)), sum.par(exact = 2).checkpoint(CacheHint.DISK_ONLY).collect)
  }

  @Test def blocksAreReducedInTheirOrder(): Unit = withContext { context =>
    val drm = context.drm(blocks(a, parts = 3, height = 4), 23, 4)
    val all = drm.allreduceBlock({ case (_, block) => block }, (x, y) => EngineCallsTest.over(x, y))
    checkRows(a, all)
  }

  @Test def whatIsStoredIsGivenBack(): Unit = withContext { context =>
    val before = sc.getPersistentRDDs.size
    val drm = context.drm(blocks(a, 2), 23, 4)
    val sum = (drm + 1.0).checkpoint(CacheHint.MEMORY_ONLY)
    val product = (sum %*% new DenseMatrix(gaussian(4, 2, 2))).checkpoint(CacheHint.MEMORY_ONLY)
    product.collect
    assertEquals(before + 2, sc.getPersistentRDDs.size)
    product.uncache()
    assertEquals(before + 1, sc.getPersistentRDDs.size, "what a product is made of stays")
    sum.uncache()
    assertEquals(before, sc.getPersistentRDDs.size)
    checkRows(rows(sum.collect), (drm + 1.0).collect)
  }

  private def roundTrip[K](drm: CheckpointedDrm[K], path: String)(implicit here: DistributedContext): CheckpointedDrm[K] = {
    drm.dfsWrite(path)
    assertTrue(Files.exists(Path.of(path, "_SUCCESS")))
    val found = drmDfsRead(path)
    assertEquals(drm.keyClassTag, found.keyClassTag)
    assertEquals((drm.nrow, drm.ncol), (found.nrow, found.ncol))
    found.asInstanceOf[CheckpointedDrm[K]]
  }

  @Test def filesComeBackToTheLastBit(@TempDir folder: Path): Unit = withContext { context =>
    implicit val here: DistributedContext = context
    val odd = a
      .updated(3, Array(0.0, -0.0, 1e-310, 1.0 / 3))
      .updated(5, Array(0.0, 0.0, 0.0, 0.0))
      .updated(6, Array(Double.NaN, 1e308, 3.0, 0.0))
    def bits(x: Array[Array[Double]]) = x.map(_.map(java.lang.Double.doubleToRawLongBits(_)).toSeq).toSeq
    for (end <- Seq("", ".txt")) {
      val int = drmParallelize(new DenseMatrix(odd), 3)
      assertEquals(bits(odd), bits(rows(roundTrip(int, s"$folder/int$end").collect)))
      val long = context.drm[Long](blocks(odd, 2, height = 5), 23, 4)
      assertEquals(bits(odd), bits(rows(roundTrip(long, s"$folder/long$end").collect)))
      val names = (i: Int) => s"""r$i "\\${'\t'}${'\n'}"""
      val labels = roundTrip(drmParallelizeWithRowLabels(labelled(odd, names), 3), s"$folder/labels$end").collect
      for (i <- odd.indices)
        assertEquals(bits(odd)(i), bits(rows(labels))(labels.getRowLabelBindings.get(names(i))))
      val many = context.engine.drmDfsRead(s"$folder/int$end", 9).checkpoint(CacheHint.MEMORY_ONLY)
      assertEquals(bits(odd), bits(rows(many.collect)))
      assertTrue(many.asInstanceOf[DistributedRows[_]].rdd.getNumPartitions >= 9)
    }
    val before = sc.getPersistentRDDs.size
    val kept = drmDfsRead(s"$folder/int").checkpoint(CacheHint.MEMORY_ONLY)
    kept.collect
    assertEquals(before + 1, sc.getPersistentRDDs.size, "it is kept, and the file not read again")
    kept.uncache()
    val again = drmParallelize(new DenseMatrix(a))
    val driver = (again.t %*% again).checkpoint()
    assertEquals(bits(rows(driver.collect)), bits(rows(roundTrip(driver, s"$folder/driver.txt").collect)))
    val e = assertThrows(classOf[IllegalArgumentException], () => again.dfsWrite(s"$folder/int"))
    assertTrue(e.getMessage.contains("already"))
    // Some clusters have Hadoop mark nothing.
    val mark = "mapreduce.fileoutputcommitter.marksuccessfuljobs"
    sc.hadoopConfiguration.set(mark, "false")
    try for (end <- Seq("", ".txt")) assertEquals(bits(a), bits(rows(roundTrip(again, s"$folder/unmarked$end").collect)))
    finally sc.hadoopConfiguration.unset(mark)
  }

  @Test def whatIsNoMatrixIsNotRead(@TempDir folder: Path): Unit = withHere { implicit here =>
    def refused(path: Any, why: String): Unit = {
      val e = assertThrows(classOf[Exception], () => { drmDfsRead(path.toString).collect; () })
      assertTrue(e.getMessage.contains(why), e.getMessage)
    }
    refused(folder.resolve("nothing"), "there is nothing")
    refused(Files.createDirectory(folder.resolve("half")), "_SUCCESS")
    refused(Files.writeString(folder.resolve("words.txt"), "a line of words\n"), "no key, tab")
    refused(Files.writeString(folder.resolve("ragged.txt"), "0\t0:1.0\n1\t4:1.0\n"), "from 1 to 5 values")
    refused(Files.writeString(folder.resolve("twice.txt"), "0\t0:1.0\n0\t0:2.0\n"), "two rows have the key 0")
    // Twice the one for want of the other, where even the sum of the keys is right.
    refused(Files.writeString(folder.resolve("other.txt"), "0\t0:1.0\n0\t0:2.0\n2\t0:3.0\n"), "two rows have the key 0")
    val sums = Seq(0, 3, 3, 3, 4, 5, 3).map(key => s"$key\t0:1.0\n").mkString
    refused(Files.writeString(folder.resolve("sum.txt"), sums), "two rows have the key 3")
    refused(Files.writeString(folder.resolve("gap-twice.txt"), "0\t0:1.0\n5\t0:2.0\n5\t0:3.0\n"), "two rows have the key 5")
    refused(Files.writeString(folder.resolve("negative.txt"), "-1\t0:1.0\n1\t0:2.0\n"), "key -1")
    checkRows(
      Array(Array(0.0, 2.0), Array(0.0, 0.0), Array(1.0, 3.0)),
      drmDfsRead(Files.writeString(folder.resolve("gap.txt"), "2\t0:1 1:3\n\n0\t1:2\n").toString).collect
    )
  }

  @Test def blocksTravelByKryoToo(): Unit = {
    val kryo = new org.apache.spark.serializer.KryoSerializer(sc.getConf).newInstance()
    def sent[T: ClassTag](value: T): T = kryo.deserialize[T](kryo.serialize(value))
    val block = new DenseBlock(a.length, 4, a.flatten)
    for (m <- Seq[Block](block, new FloatBlock(a.length, 4, a.flatten.map(_.toFloat)))) {
      val window = m.viewPart(3, 5, 1, 2)
      val there = sent[(Array[Long], Matrix)]((Array(1L), window))._2
      checkRows(rows(window), there)
      assertEquals(m.getClass, there.getClass)
      val bytes = kryo.serialize[(Array[Long], Matrix)]((Array(1L), window)).limit()
      assertTrue(bytes < 200, s"$bytes bytes for ten values")
    }
    val (place, piece) = sent((Place(1, 2, 3, 4), Piece(Array("r"), null, block)))
    assertEquals(Place(1, 2, 3, 4), place)
    checkRows(a, piece.values)
  }

  /** dssvd's random matrix is written out once; two functions that agree nearly everywhere are two matrices. */
  @Test def matricesThatAreFunctions(): Unit = withHere { implicit here =>
    def view(odd: Double) = Matrices.functionalMatrixView(
      4,
      60,
      new IntIntFunction { def apply(i: Int, j: Int): Double = if (i == 3 && j == 59) odd else i * 100.0 + j })
    val drm = drmParallelize(new DenseMatrix(a), 2)
    val random = Seq(5, 6).map(Matrices.symmetricUniformView(4, 3, _)) :+ Matrices.gaussianView(4, 3, 6L)
    for (m <- Seq(view(1), view(2)) ++ random)
      checkRows(rows((drm %*% Products.dense(new DenseMatrix(rows(m)))).collect), (drm %*% m).collect)
    assertSame(Products.dense(Matrices.symmetricUniformView(9, 3, 5)), Products.dense(Matrices.symmetricUniformView(9, 3, 5)))
  }

  @Test def sparseMatricesOfTheDriver(): Unit = withHere { implicit here =>
    val sparse = new SparseRowMatrix(5, 3)
    sparse.set(3, 2, 7.0)
    checkRows(Array.tabulate(5, 3)((i, j) => if (i == 3 && j == 2) 7.0 else 0.0), drmParallelize(sparse, 2).collect)
    assertEquals(7.0, (drmBroadcast(sparse): BCast[Matrix]).value.get(3, 2))
  }

  @Test def whatIsNotThereSaysSo(): Unit = withHere { implicit here =>
    def refused(what: String)(body: => Any): Unit = {
      val e = assertThrows(classOf[UnsupportedOperationException], () => { body; () })
      assertTrue(e.getMessage.contains(what), e.getMessage)
    }
    refused("indexedDatasetDFSRead")(here.engine.indexedDatasetDFSRead("nowhere"))
    refused("indexedDatasetDFSReadElements")(here.engine.indexedDatasetDFSReadElements("nowhere"))
    val labels = drmParallelizeWithRowLabels(labelled(a, i => s"r$i"))
    refused("no numbers")((labels.t %*% new org.apache.mahout.math.DenseVector(23)).collect)
    refused("no numbers")(labels.t.collect)
    val process = new ProcessContext
    refused("without Spark")(process.drm(Seq((Array(0), new DenseBlock(1, 1): Matrix)), 1, 1).dfsWrite("/nowhere"))
  }
}

object EngineCallsTest {
  def rows(m: Matrix): Array[Array[Double]] = Array.tabulate(m.rowSize, m.columnSize)(m.getQuick(_, _))
  def over(x: Matrix, y: Matrix): Matrix = new DenseMatrix(rows(x) ++ rows(y))
}
