package org.ctmahout.bridge.dataframes

import scala.collection.mutable

import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{DataFrame, Row}
import org.apache.spark.storage.StorageLevel
import org.ctmahout.bridge._
import org.ctmahout.bridge.exchange.MatrixGroup
import org.ctmahout.samsara.{ClusterContext, ProcessContext}

/**
 * Decomposes the matrices of a DataFrame. Its rows are read once: they are kept by Spark, in memory or on disk, while they are
 * decomposed, so a query whose rows come in another order each time does no harm.
 *
 * As of a directory, what is small is decomposed whole in a task, many of them side by side; what is large, by the whole cluster.
 */
private[dataframes] final class DataFrameSvd(frame: DataFrame, request: DataFrameRequest, run: Run) {
  import DataFrameSvd._

  private val sc = frame.sparkSession.sparkContext
  private val columns = MatrixColumns.of(frame, request)
  private val wantsU = request.svd.wantU

  def factors(): Factors = {
    val blocks = cut(columns.values).persist(StorageLevel.MEMORY_AND_DISK)
    try {
      val summaries = blocks.mapPartitions(some => Iterator.single(Summary.of(some))).collect().toSeq
      val groups = Summary.groups(summaries, columns, request.columns.mkString(", "))
      Job.checkKernels(summaries.map(_.kernel).toSet)
      groups.foreach(checkRank)
      if (columns.id.nonEmpty) checkIds(blocks, groups)
      run.checkCancelled()
      val (small, large) = groups.partition(fits)
      val all = (if (small.isEmpty) Nil else Seq(decomposedInTasks(blocks, small, summaries))) ++ large.map(decomposedOnCluster(blocks, _))
      val order = indexOf(groups)
      new Factors(
        columns.group.map(_.field),
        columns.id.map(_.field),
        all.flatMap(_.factors).sortBy(one => order(one.group.value)),
        if (wantsU) Some(sc.union(all.flatMap(_.u))) else None,
        all.flatMap(_.kept)
      )
    } finally {
      blocks.unpersist()
      ()
    }
  }

  private def cut[T](values: RowValues[T]): RDD[BlockOrUnfitRow] = {
    val blocks = new FrameBlocks(columns, values)
    columns.rows.mapPartitions(blocks.of(_))
  }

  private def components(group: Group): Int = math.min(group.rows, group.columns.toLong).toInt

  private def checkRank(group: Group): Unit =
    for (k <- request.svd.k if k > components(group)) {
      val name = columns.group.fold("")(column => s", that of ${column.field.name} ${group.value}")
      throw Errors(
        "CTM_DATAFRAME_RANK",
        "given" -> k,
        "rows" -> group.rows,
        "columns" -> group.columns,
        "group" -> name,
        "most" -> components(group))
    }

  /** Rows of one id could not be told apart in U. */
  private def checkIds(blocks: RDD[BlockOrUnfitRow], groups: Seq[Group]): Unit = {
    val index = indexOf(groups)
    val repeated = blocks
      .flatMap { case block: NamedBlock => block.ids.iterator.map(id => ((index(block.group), id), 1)); case _ => Iterator.empty }
      .reduceByKey((a, b) => math.min(a + b, 2))
      .filter(_._2 > 1)
      .map { case ((group, id), _) => (group, id.toString) }
    val first = repeated.mapPartitions(some => if (some.isEmpty) Iterator.empty else Iterator.single(some.min)).collect().sorted.headOption
    for ((group, id) <- first; column <- columns.id) {
      val where = columns.group.fold("")(g => s" where ${g.field.name} is ${groups(group).value}")
      throw Errors("CTM_DATAFRAME_DUPLICATE", "column" -> column.field.name, "id" -> id, "group" -> where)
    }
  }

  private def fits: Group => Boolean = {
    val fit = GroupTasks.fit(frame.sparkSession)
    group => fit(MatrixGroup(0, group.rows, group.columns, ""))
  }

  private def of(group: Group): Request = request.svd.copy(k = Some(request.svd.k.getOrElse(components(group).toLong)))

  private def decomposedInTasks(blocks: RDD[BlockOrUnfitRow], small: Seq[Group], summaries: Seq[Summary]): SomeFactors = {
    val whole = wholeIn(summaries)
    val (here, others) = small.partition(group => whole(group.value))
    val parts = Seq(here, others).zip(Seq[Seq[Group] => RDD[InTask]](inPlace(blocks, _), gathered(blocks, _)))
    val results = sc.union(parts.collect { case (groups, decompose) if groups.nonEmpty => decompose(groups) })
    if (wantsU) results.persist(StorageLevel.MEMORY_AND_DISK)
    val factors = results.map(_.factors).collect().toSeq
    val named = columns.group.nonEmpty
    if (wantsU) SomeFactors(factors, Some(results.flatMap(_.rows(named))), Some(results)) else SomeFactors(factors, None, None)
  }

  /** Decomposes groups where all their rows are, so that none of these travels. */
  private def inPlace(blocks: RDD[BlockOrUnfitRow], groups: Seq[Group]): RDD[InTask] = {
    val (index, requests) = (indexOf(groups), groups.map(of))
    blocks.mapPartitions { some =>
      val held = mutable.HashMap.empty[Int, Vector[NamedBlock]]
      some.flatMap {
        case block: NamedBlock if index.contains(block.group) =>
          val i = index(block.group)
          val mine = held.getOrElse(i, Vector.empty) :+ block
          if (mine.map(_.rows.toLong).sum < groups(i).rows) {
            held(i) = mine
            Iterator.empty
          } else {
            held -= i
            Iterator.single(decomposed(groups(i), mine, requests(i)))
          }
        case _ => Iterator.empty
      } ++ complete(held.keys)
    }
  }

  /** Decomposes groups whose rows meet by a shuffle. */
  private def gathered(blocks: RDD[BlockOrUnfitRow], groups: Seq[Group]): RDD[InTask] = {
    val (index, requests) = (indexOf(groups), groups.map(of))
    val tasks = math.min(groups.size, blocks.getNumPartitions)
    blocks
      .mapPartitionsWithIndex { (part, some) =>
        some.collect { case block: NamedBlock if index.contains(block.group) => block }.zipWithIndex.map { case (block, i) =>
          ((index(block.group), part, i), block)
        }
      }
      // In one order, whichever task comes first: sums of floating point numbers depend on it.
      .repartitionAndSortWithinPartitions(new ModuloPartitioner(tasks))
      .mapPartitions { sorted =>
        val blocks = sorted.buffered
        new Iterator[InTask] {
          override def hasNext: Boolean = blocks.hasNext
          override def next(): InTask = {
            val i = blocks.head._1._1
            val mine = Seq.newBuilder[NamedBlock]
            while (blocks.hasNext && blocks.head._1._1 == i) mine += blocks.next()._2
            decomposed(groups(i), mine.result(), requests(i))
          }
        }
      }
  }

  private def decomposedOnCluster(blocks: RDD[BlockOrUnfitRow], group: Group): SomeFactors = {
    run.checkCancelled()
    val (value, prefix) = (group.value, columns.group.map(_ => group.value).toSeq)
    val ofGroup =
      blocks.flatMap { case block: NamedBlock if block.group == value => Iterator.single(block.keyed); case _ => Iterator.empty }
    val samsara = new ClusterContext(sc, keepsSketch = wantsU)
    try {
      val a = samsara.drm[AnyRef](ofGroup, group.rows, group.columns)
      val svd = Decomposition.of(a, of(group))
      val found = factorsOf(group, svd, of(group))
      if (!wantsU) {
        samsara.close()
        SomeFactors(Seq(found), None, None)
      } else {
        val u = samsara.rdd(svd.u).flatMap(Decomposition.rows(_)).map { case (id, values) => row(prefix, id, values) }
        u.persist(StorageLevel.MEMORY_AND_DISK).foreach(_ => ())
        // Not closed: a row of U that an executor has lost is made once more, from what was sent there.
        samsara.uncache()
        SomeFactors(Seq(found), Some(u), Some(u))
      }
    } catch {
      case e: Throwable =>
        samsara.close()
        throw e
    }
  }
}

private[dataframes] object DataFrameSvd {

  /** Some groups: their factors, U, and what Spark keeps for it. */
  private final case class SomeFactors(factors: Seq[GroupFactors], u: Option[RDD[Row]], kept: Option[RDD[_]])

  /** Of groups that are decomposed in place, what a task may have to hold until the last rows of each have come. */
  private val MostHeld = 256L << 20

  /** The groups that are all in one partition, if it does not have too many of them. */
  private def wholeIn(summaries: Seq[Summary]): AnyRef => Boolean = {
    val parts = mutable.HashMap.empty[AnyRef, Int]
    for (summary <- summaries; (group, _, _) <- summary.groups) parts(group) = parts.getOrElse(group, 0) + 1
    summaries.iterator
      .map(summary => summary.groups.collect { case (group, rows, _) if parts(group) == 1 => (group, 8L * rows * summary.width) })
      .filter(_.map(_._2).sum <= MostHeld)
      .flatMap(_.map(_._1))
      .toSet
  }

  /** No more results, if no group is left that has fewer rows or more than were counted. */
  private def complete(left: Iterable[Int]): Iterator[InTask] = {
    // Where a partition was lost, Spark computes it again, and some sources give other rows then.
    if (left.nonEmpty) throw new IllegalStateException("The DataFrame has other rows than it had a moment ago.")
    Iterator.empty
  }

  private def indexOf(groups: Seq[Group]): Map[AnyRef, Int] = groups.map(_.value).zipWithIndex.toMap

  private final case class InTask(factors: GroupFactors, u: Array[(AnyRef, Array[Double])]) {
    def rows(named: Boolean): Iterator[Row] = {
      val prefix = if (named) Seq(factors.group.value) else Nil
      u.iterator.map { case (id, values) => row(prefix, id, values) }
    }
  }

  private def row(prefix: Seq[Any], id: AnyRef, values: Array[Double]): Row = Row.fromSeq(prefix ++ Seq(id, values.toSeq))

  private def decomposed(group: Group, blocks: Seq[NamedBlock], request: Request): InTask = {
    val a = new ProcessContext().drm[AnyRef](blocks.map(_.keyed), group.rows, group.columns)
    val svd = Decomposition.of(a, request)
    val u = if (request.wantU) Decomposition.u(svd).here.flatMap(Decomposition.rows(_)).toArray else Array.empty[(AnyRef, Array[Double])]
    InTask(factorsOf(group, svd, request), u)
  }

  private def factorsOf(group: Group, svd: org.ctmahout.samsara.Svd[AnyRef], request: Request): GroupFactors = {
    val algorithm = if (request.algorithm == Algorithm.Auto) request.choice(group.columns).algorithm else request.algorithm
    val squaredNorm = Decomposition.squaredNorm(group.rows, group.squaredNorm, svd)
    GroupFactors(group, svd.s, Decomposition.v(svd), squaredNorm, algorithm.name, svd.warnings, svd.means)
  }
}
