package org.apache.mahout.classifier.naivebayes

/** Mahout's naive Bayes under the name that programs for Spark use. Observations pass through the driver's memory. */
object SparkNaiveBayes extends NaiveBayes
