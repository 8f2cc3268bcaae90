package org.apache.mahout.sparkbindings.indexeddataset

import org.apache.mahout.math.{SequentialAccessSparseVector, Vector}
import org.apache.mahout.math.drm.{CheckpointedDrm, DistributedContext}
import org.apache.mahout.math.indexeddataset.{BiDictionary, DefaultIndexedDatasetWriteSchema, IndexedDataset, Schema}
import org.apache.mahout.sparkbindings._
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD

/** A matrix of interactions, and the names of its rows and columns. */
class IndexedDatasetSpark(val matrix: CheckpointedDrm[Int], val rowIDs: BiDictionary, val columnIDs: BiDictionary)
    extends IndexedDataset {

  override def create(matrix: CheckpointedDrm[Int], rowIDs: BiDictionary, columnIDs: BiDictionary): IndexedDatasetSpark =
    new IndexedDatasetSpark(matrix, rowIDs, columnIDs)

  /** Text, a row a line: its name, and names and strengths of columns that are not zero, the strongest first. */
  override def dfsWrite(dest: String, schema: Schema = DefaultIndexedDatasetWriteSchema)(implicit sc: DistributedContext): Unit = {
    def delimiter(name: String) = schema(name).toString
    val (afterRow, beforeScore, between) = (delimiter("rowKeyDelim"), delimiter("columnIdStrengthDelim"), delimiter("elementDelim"))
    val (rowName, columnName, omitScore) = (rowIDs.inverse.toMap, columnIDs.inverse.toMap, schema("omitScore") == true)
    matrix.rdd.map { case (key, row) =>
      val scores = (0 until row.size).collect { case j if row.getQuick(j) != 0 => columnName(j) -> row.getQuick(j) }
      val cells = scores.sortBy { case (name, score) => (-score, name) }
        .map { case (name, score) => if (omitScore) name else s"$name$beforeScore$score" }
      rowName(key) + afterRow + cells.mkString(between)
    }.saveAsTextFile(dest)
  }
}

object IndexedDatasetSpark {

  /**
   * From pairs of a row's and a column's name, as of a user and an item; a pair counts once, however often it is there.
   *
   * @param existingRowIDs
   *   rows that have numbers already: others are numbered after these
   */
  def apply(elements: RDD[(String, String)], existingRowIDs: Option[BiDictionary] = None)(implicit
      sc: SparkContext): IndexedDatasetSpark = {
    def names(of: RDD[String]) = of.distinct().collect().sorted.toSeq
    val rowIDs = existingRowIDs.getOrElse(new BiDictionary(Map.empty[String, Int])).merge(names(elements.map(_._1)))
    val columnIDs = new BiDictionary(names(elements.map(_._2)))
    val (rows, columns) = (sc.broadcast(rowIDs.toMap), sc.broadcast(columnIDs.toMap))
    val width = columnIDs.size
    val interactions = elements.map { case (row, column) => rows.value(row) -> columns.value(column) }.groupByKey().map {
      case (row, columns) =>
        val vector = new SequentialAccessSparseVector(width)
        columns.toSeq.distinct.sorted.foreach(vector.setQuick(_, 1.0))
        row -> (vector: Vector)
    }
    new IndexedDatasetSpark(drmWrap(interactions, rowIDs.size.toLong, width), rowIDs, columnIDs)
  }
}
