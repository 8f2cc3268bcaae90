package org.ctmahout.sparkbindings

import org.apache.mahout.classifier.naivebayes._
import org.apache.mahout.math.Vector
import org.apache.mahout.math.drm._
import org.apache.mahout.math.scalabindings._
import org.apache.mahout.math.scalabindings.RLikeOps._
import org.apache.mahout.nlp.tfidf.TFIDF
import org.apache.mahout.sparkbindings._
import org.ctmahout.samsara.Local
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.{Test, TestInstance}

/** Mahout's naive Bayes, by the formulas of Rennie and others 2003. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class NaiveBayesTest {
  private implicit def sdc: SparkDistributedContext = sc2sdc(Local.sc)

  private val documents = Seq(
    "/spam/1" -> Array(3, 0, 0, 1),
    "/ham/2" -> Array(0, 2, 3, 1),
    "/spam/3" -> Array(2, 1, 0, 0),
    "/ham/4" -> Array(0, 1, 2, 0),
    "/spam/5" -> Array(1, 0, 1, 0),
    "/ham/6" -> Array(0, 4, 1, 1)
  ).map { case (name, words) => name -> words.map(_.toDouble) }

  private def observations: CheckpointedDrm[String] =
    drmWrap(Local.sc.parallelize(documents, 2).map { case (name, words) => name -> (dvec(words): Vector) })

  private lazy val (labels, sums) = SparkNaiveBayes.extractLabelsAndAggregateObservations(observations)
  private lazy val complement = SparkNaiveBayes.train(sums, labels, trainComplementary = true)

  @Test def weightsAreThoseOfThePaper(): Unit = {
    val counts = documents.groupBy(_._1.split('/')(1)).map { case (l, d) => l -> (0 until 4).map(j => d.map(_._2(j)).sum) }
    val all = sums.collect
    for ((label, n) <- counts; j <- 0 until 4) assertEquals(n(j), all(labels(label), j))
    val standard = SparkNaiveBayes.train(sums, labels, trainComplementary = false)
    val scores = new StandardNBClassifier(standard).classifyFull(dvec(1, 0, 2, 0))
    for ((label, n) <- counts) {
      def weight(j: Int) = math.log((n(j) + 1) / (n.sum + 4))
      assertEquals(weight(0) + 2 * weight(2), scores(standard.labelIndex(label)), 1e-12)
    }
    val against = new ComplementaryNBClassifier(complement).classifyFull(dvec(1, 0, 2, 0))
    for ((label, _) <- counts) {
      val rest = counts.filter(_._1 != label).values.head
      def weight(j: Int) = -math.log((rest(j) + 1) / (rest.sum + 4))
      val normal = (0 until 4).map(j => math.abs(weight(j))).sum
      assertEquals((weight(0) + 2 * weight(2)) / normal, against(complement.labelIndex(label)), 1e-12)
    }
  }

  @Test def aModelIsTested(): Unit = {
    val tested = SparkNaiveBayes.test(complement, observations, testComplementary = true)
    assertTrue(tested.toString.contains("Correctly Classified Instances"), tested.toString)
    assertEquals(1.0, tested.getConfusionMatrix.getAccuracy("spam") / 100, 1e-12)
  }

  @Test def termFrequencies(): Unit = assertEquals(math.sqrt(2) * (math.log(6.0 / 4) + 1), new TFIDF().calculate(2, 3, 1, 6), 1e-12)
}
