package org.ctmahout.sparkbindings

import org.apache.mahout.math.{DenseVector, Matrix, RandomAccessSparseVector, SparseRowMatrix, Vector}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.scalabindings._
import org.apache.mahout.math.scalabindings.RLikeOps._
import org.apache.mahout.sparkbindings._
import org.apache.spark.{SparkConf, SparkException}
import org.apache.spark.mllib.linalg.Vectors
import org.apache.spark.mllib.regression.LabeledPoint
import org.apache.spark.sql.SparkSession
import org.ctmahout.samsara.Local
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

private object SparkbindingsTest {
  def sparse(values: Array[Double]): Vector = {
    val vector = new RandomAccessSparseVector(values.length)
    for (j <- values.indices if values(j) != 0) vector(j) = values(j)
    vector
  }
}

/** What programs for Mahout 14.1 on Spark begin and end with. */
class SparkbindingsTest {
  private def rows(m: Matrix): Seq[Seq[Double]] = (0 until m.nrow).map(i => (0 until m.ncol).map(j => m(i, j)))

  /** An RDD of Mahout's vectors in a session with Java's serializer: made in the tasks. */
  private def vectors(of: (Int, Array[Double])*)(make: Array[Double] => Vector) =
    Local.sc.parallelize(of, 2).map { case (key, values) => key -> make(values) }

  @Test def theProgramOfThePage(): Unit =
    assertEquals((0 until 100).map(i => math.pow(i.toDouble, 4)).sum, MahoutProgram.run(Local.sc))

  @Test def rowsBecomeAMatrixAndAMatrixRows(): Unit =
    for (make <- Seq[Array[Double] => Vector](new DenseVector(_), SparkbindingsTest.sparse(_))) {
      val a = drmWrap(vectors(2 -> Array(5.0, 7.0), 0 -> Array(1.0, 2.0), 1 -> Array(3.0, 0.0))(make))
      assertEquals((3L, 2), (a.nrow, a.ncol))
      assertEquals(Seq(Seq(1.0, 2.0), Seq(3.0, 0.0), Seq(5.0, 7.0)), rows(a.collect))
      // On the cluster, and on the driver.
      assertEquals(Map(0 -> 3.0, 1 -> 3.0, 2 -> 12.0), (a + 0).rdd.mapValues(_.zSum()).collectAsMap())
      assertEquals(Map(0 -> 72.0, 1 -> 90.0), (a.t %*% a).rdd.mapValues(_.zSum()).collectAsMap())
    }

  /** Mahout takes rows that are not there for zero, said or not. */
  @Test def rowsThatAreNotThereAreZero(): Unit = {
    implicit val sdc: SparkDistributedContext = sc2sdc(Local.sc)
    val one = drmWrap(vectors(1 -> Array(2.0, 3.0))(new DenseVector(_)), nrow = 3, ncol = 2)
    val b = drmParallelize(dense((1, 1), (10, 10), (100, 100)), numPartitions = 2)
    assertEquals(Seq(Seq(20.0, 20.0), Seq(30.0, 30.0)), rows((one.t %*% b).collect))
  }

  @Test def whatIsNoMatrixIsRefused(): Unit = {
    def refused(words: String)(make: => CheckpointedDrm[_]): Unit = {
      val error = assertThrows(classOf[IllegalArgumentException], () => { make; () })
      assertTrue(error.getMessage.contains(words), error.getMessage)
    }
    def wrapped(of: (Int, Array[Double])*)(nrow: Long = -1, ncol: Int = -1) = drmWrap(vectors(of: _*)(new DenseVector(_)), nrow, ncol)
    refused("two rows have the key 1")(wrapped(0 -> Array(1.0), 1 -> Array(2.0), 1 -> Array(3.0))())
    refused("rows have from 1 to 2 values")(wrapped(0 -> Array(1.0), 1 -> Array(2.0, 3.0))())
    refused("rows have 1 values, not 2")(wrapped(0 -> Array(1.0))(ncol = 2))
    refused("the key 1, and the matrix only 1 rows")(wrapped(0 -> Array(1.0), 1 -> Array(2.0))(nrow = 1))
    refused("the key -1")(wrapped(-1 -> Array(1.0))())
  }

  @Test def namedRowsAndBlocks(): Unit = {
    val named = drmWrap(Local.sc.parallelize(Seq("b" -> 2.0, "a" -> 1.0), 2).map { case (name, x) => name -> (dvec(x, 1): Vector) })
    assertEquals((2L, 2), (named.nrow, named.getRowLabelBindings.size))
    assertEquals(Map("a" -> 1.0, "b" -> 2.0), named.rdd.mapValues(_(0)).collectAsMap())
    val blocks = Local.sc.parallelize(Seq(0, 2), 2).map(k => (Array(k, k + 1), dense((k, 1), (k + 1, 1)): Matrix))
    assertEquals(Seq(Seq(0.0, 1.0), Seq(1.0, 1.0), Seq(2.0, 1.0), Seq(3.0, 1.0)), rows(drmWrapBlockified(blocks).collect))
  }

  @Test def vectorsOfMLlibAndTables(): Unit = {
    val some = Local.sc.parallelize(Seq(Vectors.dense(2, 0, 4), Vectors.sparse(3, Seq(0 -> 3.0, 2 -> 5.0))), 2)
    assertEquals(Seq(Seq(2.0, 0.0, 4.0), Seq(3.0, 0.0, 5.0)), rows(drmWrapMLLibVector(rdd = some).collect))
    val labelled = some.map(v => LabeledPoint(v(0) - 1, v))
    assertEquals(Seq(Seq(2.0, 0.0, 4.0, 1.0), Seq(3.0, 0.0, 5.0, 2.0)), rows(drmWrapMLLibLabeledPoint(rdd = labelled).collect))

    Local.sc
    val session = SparkSession.builder().getOrCreate()
    val table = session.createDataFrame(Seq((2.0, 1, 4L), (3.0, 0, 5L))).toDF("a", "b", "c")
    assertEquals(Seq(Seq(2.0, 1.0, 4.0), Seq(3.0, 0.0, 5.0)), rows(drmWrapDataFrame(df = table).collect))
    val words = session.createDataFrame(Seq((2.0, "x"))).toDF("a", "b")
    val error = Local.quietly(assertThrows(classOf[SparkException], () => { drmWrapDataFrame(words); () }))
    assertTrue(error.getMessage.contains("a row has x in column b, which is no number"), error.getMessage)
  }

  /** A Spark of its own, as the manual of Mahout's bindings begins: vectors and matrices travel, and `close` ends it. */
  @Test def aSparkOfMahoutsOwn(): Unit = {
    Local.sc.stop()
    implicit val mahoutCtx: SparkDistributedContext =
      mahoutSparkContext(
        masterUrl = "local[2]",
        appName = "MahoutLocalContext",
        sparkConf = new SparkConf().set("spark.log.level", "ERROR"))
    val sc = mahoutCtx.asInstanceOf[SparkDistributedContext].sc
    try {
      val sent = Seq[Vector](dvec(1, 2, 0), svec((0, 3) :: (1, 5) :: Nil, cardinality = 3), new RandomAccessSparseVector(3))
      val a = drmWrap(sc.parallelize(sent.zipWithIndex.map(_.swap), 2))
      assertEquals(Seq(Seq(1.0, 2.0, 0.0), Seq(3.0, 5.0, 0.0), Seq(0.0, 0.0, 0.0)), rows(a.collect))
      assertEquals(Seq(3.0, 8.0, 0.0), a.rdd.sortByKey().values.collect().toSeq.map(_.zSum()))
      val matrices = Seq[Matrix](dense((1, 2), (3, 4)), new SparseRowMatrix(2, 2) := ((_, _, _) => 7.0), diag(2, 2))
      assertEquals(matrices.map(rows), sc.parallelize(matrices, 3).map(x => x).collect().toSeq.map(rows))
      val (u, v, s) = org.apache.mahout.math.decompositions.dssvd(drmParallelize(dense((1, 0), (0, 2), (0, 0))), k = 2, p = 0)
      assertEquals(2.0, s(0), 1e-12)
      assertEquals(3L, u.nrow)
    } finally mahoutCtx.close()
    assertTrue(sc.isStopped)
  }

  /** The context of a Spark that runs is one, and closing it leaves Spark alone. */
  @Test def aSparkThatRuns(): Unit = {
    val sdc: SparkDistributedContext = sc2sdc(Local.sc)
    assertSame(sdc, sc2sdc(Local.sc))
    sdc.close()
    assertFalse(Local.sc.isStopped)
  }
}
