package org.ctmahout.samsara

import scala.reflect.ClassTag
import scala.util.Random

import org.apache.mahout.math.{DenseMatrix, DenseVector, Matrix, SparseMatrix, SparseRowMatrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.scalabindings._
import org.ctmahout.samsara.blocks.{LocalBlocks, SparkBlocks}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/**
 * All operators on matrices of random shape, kind of key, storage and partitioning, against sums written out: twenty seeds
 * that are always the same, and a fresh one. Each case runs twice, with room on the driver and with none, in this process,
 * where it takes no time; some run on Spark as well. A failure names its seed, and `-Dsamsara.seed=...` runs that
 * one again: `set samsaraSpark / Test / javaOptions += "-Dsamsara.seed=7"` in sbt.
 */
class AlgebraPropertyTest {
  import Local._
  private type Rows = Array[Array[Double]]

  private def t(x: Rows): Rows = x.transpose
  private def times(x: Rows, y: Rows): Rows = x.map(row => y.transpose.map(c => row.indices.map(i => row(i) * c(i)).sum))
  private def zip(x: Rows, y: Rows)(f: (Double, Double) => Double): Rows =
    x.zip(y).map { case (p, q) => p.zip(q).map { case (a, b) => f(a, b) } }

  /** One case: matrices, and where and how they are kept. */
  private final class Case[K: ClassTag](r: Random, samsara: SamsaraContext, key: Int => K, kind: String) {
    implicit val context: DistributedContext = samsara
    val (m, n, w) = (1 + r.nextInt(30), 1 + r.nextInt(7), 1 + r.nextInt(5))
    val what =
      s"$kind keys, $m x $n and $w, ${samsara.getClass.getSimpleName}, ${samsara.driverEntries} entries on the driver"

    def random(m: Int, n: Int): Rows = Array.fill(m, n)(if (r.nextInt(3) == 0) 0.0 else r.nextInt(19) / 4.0 - 2)
    val (a, b, c) = (random(m, n), random(m, n), random(m, w))

    /**
     * Rows in any order, in blocks of any height, dense, of floats or sparse, lasting or not, some partitions without rows.
     *
     * @param there
     *   the rows that are not left out
     */
    def far(x: Rows): CheckpointedDrm[K] = farOf[K](x, key)
    def farOf[L: ClassTag](x: Rows, key: Int => L): CheckpointedDrm[L] = farOf[L](x, key, x.indices)
    def farOf[L: ClassTag](x: Rows, key: Int => L, there: Seq[Int]): CheckpointedDrm[L] = {
      val (height, parts, storage, columns) = (1 + r.nextInt(9), 1 + r.nextInt(5), r.nextInt(4), x.head.length)
      val isPassing = storage < 2 && r.nextBoolean()
      val order = r.shuffle(there.toList).grouped(height).toSeq
      val keyed = order.map(rows => (rows.map(key).toArray, rows.map(x(_)).toArray))
      def stored(rows: (Array[L], Rows)) = AlgebraPropertyTest.block(rows, storage, columns)
      def read(blocks: Iterator[(Array[L], Matrix)]) = if (isPassing) PassingBlocksTest.passing(blocks, storage == 1) else blocks
      val blocks = samsara match {
        case _: ClusterContext =>
          val made = AlgebraPropertyTest.blocks(sc.parallelize(keyed, parts), storage, columns)
          new SparkBlocks(if (isPassing) made.mapPartitions(PassingBlocksTest.passing(_, storage == 1)) else made)
        case _: ProcessContext => new LocalBlocks(() => read(keyed.iterator.map(stored)))
      }
      samsara.drmOf(blocks, x.length.toLong, columns, canHaveMissingRows = there.size < x.length)
    }
    def hint(): CacheHint.CacheHint = {
      val all = Seq(CacheHint.NONE, CacheHint.MEMORY_ONLY, CacheHint.MEMORY_AND_DISK, CacheHint.MEMORY_ONLY_SER, CacheHint.DISK_ONLY)
      all(r.nextInt(all.size))
    }

    def gather(drm: DrmLike[_]): Rows = {
      val found = drm.checkpoint(CacheHint.NONE).collect
      val labels = found.getRowLabelBindings
      Array.tabulate(found.rowSize, found.columnSize) { (i, j) =>
        found.getQuick(if (labels == null || !labels.containsKey("r0")) i else labels.get(s"r$i"), j)
      }
    }

    def check(operator: String, expected: Rows, found: => DrmLike[_]): Unit = {
      val rows =
        try gather(found)
        catch { case e: Exception => throw new AssertionError(s"$operator, $what: $e", e) }
      if (r.nextInt(4) == 0)
        for ((x, y) <- rows.zip(gather(found))) assertArrayEquals(x, y, s"bits of $operator the second time, $what")
      assertEquals(expected.length, rows.length, s"rows of $operator, $what")
      for (i <- expected.indices) assertArrayEquals(expected(i), rows(i), 1e-10, s"row $i of $operator, $what")
    }
    def check(operator: String, expected: Array[Double], found: org.apache.mahout.math.Vector): Unit =
      assertArrayEquals(expected, Array.tabulate(found.size)(found.get), 1e-10, s"$operator, $what")

    val (da, db, dc) = (far(a), far(b), far(c))
    def inCore(x: Rows): Matrix = if (r.nextBoolean()) new DenseMatrix(x) else AlgebraPropertyTest.sparse(x, r.nextInt(2))

    def anyKeys(): Unit = {
      check("collect", a, da)
      check("A'A", times(t(a), a), da.t %*% da)
      check("A'B", times(t(a), c), da.t %*% dc)
      val same = dc.mapBlock(w) { case (k, block) => (k, block.times(2.0)) }
      check("A'B, identically partitioned", times(t(c), c.map(_.map(_ * 2))), dc.t %*% same)
      check("A + B", zip(a, b)(_ + _), da + db)
      check("A - B", zip(a, b)(_ - _), da - db)
      check("A * B", zip(a, b)(_ * _), da * db)
      check("A / (B + 5)", zip(a, b)((x, y) => x / (y + 5)), da / (db + 5))
      check("C - 2 C", c.map(_.map(-_)), dc - same)
      check("(2 A + 1)^2", a.map(_.map(x => (2 * x + 1) * (2 * x + 1))), (da * 2.0 + 1.0) ^ 2)
      check("3 - A", a.map(_.map(3 - _)), 3.0 -: da)
      check("1 / (A + 4)", a.map(_.map(x => 1 / (x + 4))), 1.0 /: (da + 4.0))
      check(
        "functions that spare zeros",
        a.map(_.map(x => if (x == 0) 1.0 else x + 2)), {
          val spared = da.apply((x: Double) => x + 1, AutoBooleanEnum.FALSE)
          spared + 1.0
        })
      check("A cbind C", a.zip(c).map { case (x, y) => x ++ y }, da cbind dc)
      check("A cbind 1", a.map(_ :+ 1.0), da cbind 1.0)
      check("1 cbind A", a.map(1.0 +: _), 1.0 cbind da)
      val small = random(n, w)
      check("A W", times(a, small), da %*% inCore(small))
      val x = random(1, n).head
      check("A x", times(a, x.map(Array(_))), da %*% new DenseVector(x))
      val wide = random(n, m)
      check("A B, B keyed by Int", times(a, wide), da %*% farOf[Int](wide, (i: Int) => i))
      check("A B, B keyed by Long", times(a, wide), da %*% farOf[Long](wide, (i: Int) => i.toLong))
      val tall = random(m + 3, n)
      check("A B', B keyed by Int", times(a, t(tall)), da %*% farOf[Int](tall, (i: Int) => i).t)
      check("A (A'A)", times(a, times(t(a), a)), da %*% (da.t %*% da))
      check("columns", a.map(_.slice(n / 2, n)), da(::, n / 2 until n))
      check("par", a, da.par(exact = 1 + r.nextInt(6)))
      check("par(min)", a, da.par(min = 1 + r.nextInt(6)))
      check("checkpoint", zip(a, b)(_ + _), (da + db).checkpoint(hint()))
      check("par, kept", a, da.par(exact = 1 + r.nextInt(6)).checkpoint(hint()))
      val plus = (da + 1.0).checkpoint(CacheHint.NONE)
      plus.checkpoint(hint()).norm()
      check("par of what is kept, kept in another way", a.map(_.map(_ + 1)), plus.par(exact = 1 + r.nextInt(4)).checkpoint(hint()))
      check("A W, kept", times(a, small), (da %*% inCore(small)).checkpoint(hint()))
      check("colSums", t(a).map(_.sum), da.colSums())
      check("colMeans", t(a).map(_.sum / m), da.colMeans())
      check("numNonZeroElementsPerColumn", t(a).map(_.count(_ != 0).toDouble), da.numNonZeroElementsPerColumn())
      assertEquals(math.sqrt(a.flatten.map(x => x * x).sum), da.norm(), 1e-10, what)
      check(
        "dcolMeanVars",
        t(a).map { column =>
          val mean = column.sum / m
          column.map(x => (x - mean) * (x - mean)).sum / m
        },
        dcolMeanVars(da)._2)
      val squares = da.allreduceBlock({ case (_, block: Matrix) => block.transpose().times(block) })
      for ((row, i) <- times(t(a), a).zipWithIndex; j <- row.indices)
        assertEquals(row(j), squares.getQuick(i, j), 1e-10, s"allreduceBlock, $what")
    }

    /** What block functions make of keys: where the matrix is must not matter. */
    def otherKeys(): Unit = {
      val (last, gram) = (n - 1, times(t(a), a))
      val drm = da.t %*% da
      val turned = drm.mapBlock() { case (keys, block) => keys.map(last - _) -> block }
      check("A'A turned round", gram.reverse, turned)
      check("2 (A'A turned round)", gram.reverse.map(_.map(_ * 2)), turned * 2.0)
      check("A'A turned round, and A'A", zip(gram.reverse, gram)(_ + _), turned + drm)
      check("(A'A turned round)'", t(gram.reverse), turned.t)
      check("A'A (A'A turned round)", times(gram, gram.reverse), drm %*% turned)
      val longs = drm.mapBlock() { case (keys, block) => keys.map(k => (k + 1L) % (last + 1)) -> block }.checkpoint(CacheHint.NONE)
      check("A'A with Long keys", gram.last +: gram.init, longs)
      assertEquals(ClassTag.Long, longs.keyClassTag, what)
      val labels = drm.mapBlock() { case (keys, block) => keys.map(k => s"r${last - k}") -> block }
      check("A'A with labels", gram.reverse, labels)
      assertEquals(n, labels.checkpoint(CacheHint.NONE).collect.getRowLabelBindings.size, what)
      assertThrows(classOf[UnsupportedOperationException], () => { labels.t.collect; () }, what)
      assertThrows(classOf[IllegalArgumentException], () => { (da %*% labels).collect; () }, what)
    }

    /** Columns of very different lengths; and values that are no numbers, which must not spread. */
    def extremes(): Unit = {
      val scales = Array.fill(n)(Seq(1e-150, 1e-17, 1.0, 1e17, 1e150)(r.nextInt(5)))
      val y = da %*% new DenseMatrix(Array.tabulate(n, n)((i, j) => if (i == j) scales(i) else 0.0))
      val found = gather(y.t %*% y)
      for (i <- 0 until n; j <- 0 until n; scale = scales(i) * scales(j); columns = a.map(row => row(i) * row(j)))
        assertEquals(
          columns.sum,
          found(i)(j) / scale,
          1e-12 * (1 + columns.map(x => math.abs(x)).sum),
          s"Gram matrix of A diag(scales), $what")
      val odd = a.map(_.map(x => if (r.nextInt(9) == 0) Seq(Double.NaN, Double.PositiveInfinity, -1.0 / 0)(r.nextInt(3)) else x))
      val drm = far(odd)
      check("odd values", odd, drm)
      check("odd values, A + B", zip(odd, b)(_ + _), drm + db)
      check("odd values, A cbind C", odd.zip(c).map { case (x, y) => x ++ y }, drm cbind dc)
      check("odd values, A'A", times(t(odd), odd), drm.t %*% drm)
      check("odd values, A'B", times(t(odd), c), drm.t %*% dc)
      check("odd values, colSums", t(odd).map(_.sum), drm.colSums())
    }

    /** @param number keys that are numbers */
    def missing(number: Int => K): Unit = {
      val there = a.indices.filter(_ => r.nextInt(3) > 0)
      val filled = Array.tabulate(m, n)((i, j) => if (there.contains(i)) a(i)(j) else 0.0)
      val (gaps, whole) = (farOf[K](a, number, there), far(filled))
      check("rows left out", filled, gaps)
      check("rows left out, + 1", filled.map(_.map(_ + 1)), gaps + 1.0)
      check("rows left out, A cbind C", filled.zip(c).map { case (x, y) => x ++ y }, gaps cbind dc)
      check("rows left out, A'A", times(t(filled), filled), gaps.t %*% gaps)
      check("rows left out, A'B", times(t(filled), c), gaps.t %*% dc)
      check("rows left out, A'", t(filled), gaps.t)
      check("rows left out, colMeans", t(filled).map(_.sum / m), gaps.colMeans())
      // With no room on the driver at all there is none for a Gram matrix either.
      if (m >= n && samsara.driverEntries > 1)
        for (how <- Seq(HardMatricesTest.Algorithms(0), HardMatricesTest.Algorithms(2), HardMatricesTest.Centred(1)))
          assertArrayEquals(
            how.svd(whole, n).s.padTo(n, 0.0),
            how.svd(gaps, n).s.padTo(n, 0.0),
            1e-7,
            s"${how.name} with rows left out, $what")
    }

    def repeated(drm: DrmLike[Int]): Unit = {
      val halved = drm.mapBlock() { case (keys, block) => keys.map(_ / 2) -> block }
      val sums = Array.tabulate(m, n)((i, j) => a.indices.filter(_ / 2 == i).map(a(_)(j)).sum)
      check("A' of rows of one number", t(sums), halved.t)
      check("A'A of rows of one number", times(t(a), a), halved.t %*% halved)
      if (m > 1) for (product <- Seq(farOf[Int](random(m, m), (i: Int) => i) %*% halved, drm %*% halved.t)) {
        val e = assertThrows(classOf[Exception], () => { product.checkpoint(CacheHint.NONE).collect; () }, what)
        assertTrue(e.getMessage.contains("two rows have the key"), s"${e.getMessage}, $what")
      }
    }

    def numbers(): Unit = {
      check("A'", t(a), da.t)
      check("(A')'", a, da.t.t)
      val y = random(1, m).head
      check("A'x", times(t(a), y.map(Array(_))), da.t %*% new DenseVector(y))
      check("A'W", times(t(a), c), da.t %*% inCore(c))
      check("A A'", times(a, t(a)), da %*% da.t)
      check("A + A with all rows twice", zip(a, a)(_ + _), da + far(a))
    }

    def ints(drm: DrmLike[Int], db: DrmLike[Int]): Unit = {
      val left = random(2, m)
      check("W A", times(left, a), drm.%*%:(inCore(left)))
      val (from, to) = (r.nextInt(m), m)
      check("rows", a.slice(from, to), drm(from until to, ::))
      check("rows and columns", a.slice(from, to).map(_.take(1)), drm(from until to, 0 until 1))
      val stacked = drm rbind db
      check("A rbind B", a ++ b, stacked)
      check("2 (A rbind B)", (a ++ b).map(_.map(_ * 2)), stacked * 2.0)
      check("2 (A rbind B) + 1", (a ++ b).map(_.map(_ * 2 + 1)), stacked * 2.0 + 1.0)
      check("rowSums", a.map(_.sum), drm.rowSums())
      check("rowMeans", a.map(_.sum / n), drm.rowMeans())
      val distances = Array.tabulate(m, m)((i, j) => a(i).zip(a(j)).map { case (x, y) => (x - y) * (x - y) }.sum)
      check("dsqDist", distances, dsqDist(drm))
      val gram = (drm.t %*% drm).checkpoint()
      check("driver + driver", times(t(a), a).map(_.map(_ * 3)), gram + (gram * 2.0))
      check("driver cbind driver", times(t(a), a).map(row => row ++ row), gram cbind (gram + 0.0))
      check("driver rbind driver", times(t(a), a) ++ times(t(a), a), gram rbind gram)
      check("driver rbind rows", times(t(a), a) ++ a, gram rbind drm)
      check("driver times rows'", times(times(t(a), a), t(a)), gram %*% drm.t)
      check("driver A'x", times(times(t(a), a), Array.fill(n, 1)(1.0)), gram.t %*% new DenseVector(Array.fill(n)(1.0)))
    }
  }

  private def labels(r: Random, context: SamsaraContext): Unit = {
    val c = new Case[String](r, context, i => s"r$i", "String")
    c.anyKeys()
    c.otherKeys()
    c.extremes()
  }

  private def longs(r: Random, context: SamsaraContext): Unit = {
    val c = new Case[Long](r, context, i => i.toLong, "Long")
    c.anyKeys()
    c.otherKeys()
    c.extremes()
    c.numbers()
    c.missing(i => i.toLong)
  }

  private def ints(r: Random, context: SamsaraContext): Unit = {
    val c = new Case[Int](r, context, i => i, "Int")
    c.anyKeys()
    c.otherKeys()
    c.extremes()
    c.numbers()
    c.missing(i => i)
    c.ints(c.da, c.db)
    c.repeated(c.da)
  }

  /** A case on Spark, the seed's kind of key. */
  private[samsara] def onSpark(seed: Long, driverEntries: Long): Unit =
    run(seed, new ClusterContext(sc, driverEntries))

  private def run(seed: Long, context: SamsaraContext): Unit =
    try Seq(ints _, longs _, labels _).apply(Math.floorMod(seed, 3L).toInt)(new Random(seed), context)
    catch { case e: Throwable => throw new AssertionError(s"-Dsamsara.seed=$seed: ${e.getMessage}", e) }
    finally context.close()

  private val entries = Seq(1L << 26, 1L)

  private def inProcess(seed: Long): Unit = entries.foreach(e => run(seed, new ProcessContext(e)))

  @Test def ofTwentySeeds(): Unit = quietly {
    val seeds = Option(System.getProperty("samsara.seed")).fold(Seq.tabulate(20)(_.toLong))(seed => Seq(seed.toLong))
    seeds.foreach(inProcess)
    if (seeds.size == 1) entries.foreach(onSpark(seeds.head, _))
    else for ((seed, i) <- Seq(0L, 7L, 14L).zipWithIndex) onSpark(seed, entries(i % 2)) // a kind of key each
  }

  @Test def ofAFreshSeed(): Unit = quietly {
    val seed = System.nanoTime()
    println(s"AlgebraPropertyTest: the fresh seed is $seed")
    inProcess(seed)
    onSpark(seed, entries(seed.hashCode & 1))
  }
}

object AlgebraPropertyTest {
  import org.apache.spark.rdd.RDD

  /** Made in tasks: Mahout's sparse matrices cannot be sent. */
  def blocks[K](rows: RDD[(Array[K], Array[Array[Double]])], storage: Int, columns: Int): RDD[(Array[K], Matrix)] =
    rows.map(block(_, storage, columns))

  def block[K](rows: (Array[K], Array[Array[Double]]), storage: Int, columns: Int): (Array[K], Matrix) = {
    val (keys, values) = rows
    val m = storage match {
      case 0 => new DenseBlock(values.length, columns, values.flatten)
      case 1 => new FloatBlock(values.length, columns, values.flatten.map(_.toFloat))
      case kind => sparse(values, kind - 2)
    }
    (keys, m)
  }

  def sparse(values: Array[Array[Double]], kind: Int): Matrix = {
    val (rows, columns) = (values.length, values.head.length)
    val m = if (kind == 0) new SparseRowMatrix(rows, columns) else new SparseMatrix(rows, columns)
    for (i <- values.indices; j <- values(i).indices if values(i)(j) != 0) m.set(i, j, values(i)(j))
    m
  }
}
