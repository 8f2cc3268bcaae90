package org.ctmahout.samsara

import scala.reflect.ClassTag
import scala.util.Random

import org.apache.mahout.math.{DenseMatrix, DenseVector, Matrix, SparseMatrix, SparseRowMatrix}
import org.apache.mahout.math.drm._
import org.apache.mahout.math.drm.RLikeDrmOps._
import org.apache.mahout.math.scalabindings._
import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/**
 * All operators on matrices of random shape, kind of key, storage and partitioning, with and without room on the driver,
 * against sums written out. A failure names the seed; `-Dsamsara.seed=...` runs it again, and `-Dsamsara.cases=50` runs more:
 * `set samsaraSpark / Test / javaOptions += "-Dsamsara.cases=50"` in sbt.
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

    /** Rows in any order, in blocks of any height, dense, of floats or sparse, some partitions without rows. */
    def far(x: Rows, numbered: Int => Any = key): CheckpointedDrm[K] = farOf[K](x, i => numbered(i).asInstanceOf[K])
    def farOf[L: ClassTag](x: Rows, key: Int => L): CheckpointedDrm[L] = {
      val (height, parts, storage, columns) = (1 + r.nextInt(9), 1 + r.nextInt(5), r.nextInt(4), x.head.length)
      val order = r.shuffle(x.indices.toList).grouped(height).toSeq
      val keyed = order.map(rows => (rows.map(key).toArray, rows.map(x(_)).toArray))
      def stored(rows: (Array[L], Rows)) = AlgebraPropertyTest.block(rows, storage, columns)
      samsara match {
        case cluster: ClusterContext =>
          cluster.drm(AlgebraPropertyTest.blocks(sc.parallelize(keyed, parts), storage, columns), x.length.toLong, columns)
        case process: ProcessContext => process.drm(keyed.map(stored), x.length.toLong, columns)
      }
    }

    def gather(drm: DrmLike[_]): Rows = {
      val found = drm.checkpoint(CacheHint.NONE).collect
      val labels = found.getRowLabelBindings
      Array.tabulate(found.rowSize, found.columnSize) { (i, j) =>
        found.getQuick(if (labels == null || kind != "String") i else labels.get(s"r$i"), j)
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
      check("functions that spare zeros", a.map(_.map(x => if (x == 0) 1.0 else x + 2)), {
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
      check("A B, B keyed by Int", times(a, wide), da %*% farOf[Int](wide, i => i))
      check("A B, B keyed by Long", times(a, wide), da %*% farOf[Long](wide, i => i.toLong))
      val tall = random(m + 3, n)
      check("A B', B keyed by Int", times(a, t(tall)), da %*% farOf[Int](tall, i => i).t)
      check("A (A'A)", times(a, times(t(a), a)), da %*% (da.t %*% da))
      check("columns", a.map(_.slice(n / 2, n)), da(::, n / 2 until n))
      check("par", a, da.par(exact = 1 + r.nextInt(6)))
      check("par(min)", a, da.par(min = 1 + r.nextInt(6)))
      check("checkpoint", zip(a, b)(_ + _), (da + db).checkpoint(CacheHint.MEMORY_AND_DISK))
      check("colSums", t(a).map(_.sum), da.colSums())
      check("colMeans", t(a).map(_.sum / m), da.colMeans())
      check("numNonZeroElementsPerColumn", t(a).map(_.count(_ != 0).toDouble), da.numNonZeroElementsPerColumn())
      assertEquals(math.sqrt(a.flatten.map(x => x * x).sum), da.norm(), 1e-10, what)
      check("dcolMeanVars", t(a).map { column =>
        val mean = column.sum / m
        column.map(x => (x - mean) * (x - mean)).sum / m
      }, dcolMeanVars(da)._2)
      val squares = da.allreduceBlock({ case (_, block: Matrix) => block.transpose().times(block) })
      for ((row, i) <- times(t(a), a).zipWithIndex; j <- row.indices)
        assertEquals(row(j), squares.getQuick(i, j), 1e-10, s"allreduceBlock, $what")
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

  private def run(few: Int)(body: (Random, SamsaraContext) => Unit): Unit = {
    val seed = Option(System.getProperty("samsara.seed")).fold(System.nanoTime())(_.toLong)
    for (i <- 0 until Integer.getInteger("samsara.cases", few)) {
      val r = new Random(seed + i)
      val context = r.nextInt(5) match {
        case 0 => new ProcessContext
        case 1 | 2 => new ClusterContext(sc)
        case _ => new ClusterContext(sc, driverEntries = 12)
      }
      try body(r, context)
      catch { case e: Throwable => throw new AssertionError(s"-Dsamsara.seed=${seed + i}: ${e.getMessage}", e) }
      finally context.close()
    }
  }

  @Test def labels(): Unit = run(2)((r, context) => new Case[String](r, context, i => s"r$i", "String").anyKeys())

  @Test def longs(): Unit = run(2) { (r, context) =>
    val c = new Case[Long](r, context, i => i.toLong, "Long")
    c.anyKeys()
    c.numbers()
  }

  @Test def ints(): Unit = run(3) { (r, context) =>
    val c = new Case[Int](r, context, i => i, "Int")
    c.anyKeys()
    c.numbers()
    c.ints(c.da, c.db)
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
