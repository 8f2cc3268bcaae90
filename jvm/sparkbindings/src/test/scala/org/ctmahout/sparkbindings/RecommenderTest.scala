package org.ctmahout.sparkbindings

import java.nio.file.Files

import org.apache.mahout.math.{DenseMatrix, Matrix}
import org.apache.mahout.math.cf.SimilarityAnalysis
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.indexeddataset.{BiDictionary, DefaultIndexedDatasetWriteSchema, IndexedDataset}
import org.apache.mahout.math.scalabindings._
import org.apache.mahout.math.scalabindings.RLikeOps._
import org.apache.mahout.math.stats.LogLikelihood
import org.apache.mahout.sparkbindings._
import org.apache.mahout.sparkbindings.indexeddataset.IndexedDatasetSpark
import org.ctmahout.samsara.Local
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** Mahout's co-occurrence of items, by the definition of its log-likelihood ratio. */
class RecommenderTest {
  private implicit def sdc: SparkDistributedContext = sc2sdc(Local.sc)

  private def llr(a: DenseMatrix, b: DenseMatrix)(i: Int, j: Int): Double = {
    def count(f: Int => Boolean) = (0 until a.nrow).count(f).toLong
    LogLikelihood.logLikelihoodRatio(
      count(u => a(u, i) > 0 && b(u, j) > 0),
      count(u => a(u, i) > 0 && b(u, j) == 0),
      count(u => a(u, i) == 0 && b(u, j) > 0),
      count(u => a(u, i) == 0 && b(u, j) == 0))
  }

  private def check(expected: (Int, Int) => Double, found: Matrix): Unit =
    for (i <- 0 until found.nrow; j <- 0 until found.ncol) assertEquals(expected(i, j), found(i, j), 1e-9, s"$i, $j")

  private val bought = dense((1, 0, 1, 0), (1, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 1), (0, 0, 0, 0), (1, 0, 0, 0)).asInstanceOf[DenseMatrix]
  private val viewed = dense((1, 1), (1, 0), (0, 1), (0, 0), (1, 0), (0, 1)).asInstanceOf[DenseMatrix]

  /** The fifth user bought nothing, which Mahout 14.1 divides by. */
  @Test def itemsThatGoTogether(): Unit = {
    val found = SimilarityAnalysis.cooccurrences(
      drmParallelize(bought, numPartitions = 2),
      randomSeed = 1,
      drmBs = Array(drmParallelize(viewed, numPartitions = 2)))
    // Items that were never bought by one user have no score, even though they have a ratio.
    val together = (bought.t %*% bought, bought.t %*% viewed)
    val similar = found(0).collect
    check((i, j) => if (i == j || together._1(i, j) == 0) 0 else llr(bought, bought)(i, j), similar)
    check((i, j) => if (together._2(i, j) == 0) 0 else llr(bought, viewed)(i, j), found(1).collect)

    val best = SimilarityAnalysis.cooccurrences(drmParallelize(bought), randomSeed = 1, maxInterestingItemsPerThing = 1).head.collect
    for (i <- 0 until 4) {
      val scores = (0 until 4).map(j => similar(i, j))
      assertEquals(if (scores.max > 0) Seq(scores.max) else Nil, (0 until 4).map(best(i, _)).filter(_ != 0))
    }
  }

  /** Of 100 interactions about 10 are kept, where Mahout 14.1 keeps none. */
  @Test def manyInteractionsOfAUserAreSampled(): Unit = {
    val everything = drmParallelize(new DenseMatrix(5, 100) := 1, numPartitions = 2)
    val kept = SimilarityAnalysis.sampleDownAndBinarize(everything, 7, maxNumInteractions = 10).collect.zSum()
    assertTrue(kept > 20 && kept < 80, s"$kept of 500, where 50 are expected")
  }

  /** The tutorial with names: pairs in, strengths by name out. */
  @Test def namesInAndOut(): Unit = {
    def pairs(m: Matrix, thing: String) = Local.sc.parallelize(
      for (u <- 0 until m.nrow; j <- 0 until m.ncol; _ <- 0 to 1 if m(u, j) > 0) yield s"user $u" -> s"$thing $j",
      3)
    val purchases = IndexedDatasetSpark(pairs(bought, "item"))(Local.sc)
    val views = IndexedDatasetSpark(pairs(viewed, "page"), Some(purchases.rowIDs))(Local.sc)
    assertEquals((5L, 4), (purchases.matrix.nrow, purchases.matrix.ncol))
    assertEquals(6, views.rowIDs.size) // one who only looked

    val all: Array[IndexedDataset] = Array(purchases.newRowCardinality(6), views)
    val similar = SimilarityAnalysis.cooccurrencesIDSs(all, maxInterestingItemsPerThing = 20, maxNumInteractions = 500, randomSeed = 1234)
    val (found, item) = (similar.head.matrix.collect, (name: Int) => similar.head.columnIDs(s"item $name"))
    assertEquals(llr(bought, bought)(0, 2), found(item(0), item(2)), 1e-9)
    val crossed = similar(1).matrix.collect
    assertEquals(llr(bought, viewed)(0, 0), crossed(item(0), similar(1).columnIDs("page 0")), 1e-9)

    val history = svec((item(0), 1) :: Nil, cardinality = 4)
    assertEquals(found(item(2), item(0)), (similar.head.matrix %*% history).collect(item(2), 0), 1e-12)

    val folder = Files.createTempDirectory("co-occurrence")
    similar.head.dfsWrite(s"$folder/out", DefaultIndexedDatasetWriteSchema)
    val lines = Local.sc.textFile(s"$folder/out").collect().map(_.split("\t", 2)).map(l => l(0) -> l(1)).toMap
    assertEquals((0 to 3).map(i => s"item $i").toSet, lines.keySet)
    val first = lines("item 0").split(" (?=item)")(0).split(":")
    val (name, score) = (first(0), first(1).toDouble)
    assertEquals("item 2" -> found(item(0), item(2)), name -> score)
  }

  @Test def dictionaries(): Unit = {
    val dictionary = new BiDictionary(Seq("a", "b")).merge(Seq("b", "c"))
    assertEquals((2, 0, "c"), (dictionary("c"), dictionary.getOrElse("a", -1), dictionary.inverse(2)))
  }
}
