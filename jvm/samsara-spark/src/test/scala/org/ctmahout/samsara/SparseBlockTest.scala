package org.ctmahout.samsara

import java.io._

import com.esotericsoftware.kryo.Kryo
import com.esotericsoftware.kryo.io.{Input, Output}
import org.ctmahout.samsara.blocks.Passes
import org.ctmahout.samsara.incore.{Products, SingleProducts}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions._

/** A sparse block is the dense one of the same values, in whatever is done with it. */
class SparseBlockTest {
  private val random = new scala.util.Random(4)

  /** Some rows of which one is empty and one is full. */
  private def sparse(m: Int, n: Int): SparseBlock = {
    val rows = Array.tabulate(m)(i => (0 until n).filter(_ => if (i == 1) false else i == 2 || random.nextInt(9) == 0).toArray)
    val places = rows.flatten
    new SparseBlock(m, n, rows.map(_.length).scanLeft(0)(_ + _), places, places.map(_ => random.nextGaussian()))
  }
  private def dense(m: Int, n: Int) = new DenseBlock(m, n, Array.fill(m * n)(random.nextGaussian()))
  private def close(expected: Array[Double], found: Array[Double]): Unit =
    assertArrayEquals(expected, found, 1e-12 * (1 + expected.map(math.abs).foldLeft(0.0)(_ max _)))

  private def forms(m: Int, n: Int): Seq[SparseBlock] = {
    val all = sparse(m + 5, n)
    val row = Array.fill(n)(random.nextGaussian())
    val window = all.viewPart(3, m, 0, n).asInstanceOf[SparseBlock]
    Seq(window, window.minus(row), window.minus(row).minus(row))
  }

  @Test def productsAreThoseOfTheDenseBlock(): Unit =
    for ((m, n, r) <- Seq((1, 3, 2), (40, 17, 17), (700, 60, 9)); a <- forms(m, n); whole = new DenseBlock(m, n, a.toArray)) {
      val (z, y) = (dense(n, r), dense(m, r))
      close(Products.times(whole, z).toArray, Products.times(a, z).toArray)
      for (padded <- Seq(y, Products.times(whole, z))) {
        val crosses = Seq(whole, a).map { block =>
          val cross = new Products.Cross(n, r); cross.add(block, padded); cross.sum
        }
        close(crosses.head, crosses.last)
      }
      val grams = Seq(whole, a).map { block =>
        val gram = new Products.Gram(n); gram.add(block); gram.sum
      }
      close(grams.head, grams.last)
    }

  /** Blocks of both kinds in one sum, and rows taken off that change in between. */
  @Test def aSketchOfMixedBlocksIsThatOfAllRows(): Unit = for (single <- Seq(false, true)) {
    val (n, r) = (60, 9)
    val z = dense(n, r)
    val blocks = forms(300, n) ++ Seq(dense(50, n)) ++ forms(20, n)
    def sketch = if (single) new SingleProducts.SketchSums(z) else new Products.SketchSums(z)
    val (mixed, whole) = (sketch, sketch)
    for (block <- blocks) {
      whole.add(new DenseBlock(block.rowSize, n, block.toArray))
      if (block.rowSize == 20) mixed.add(block)
      else close(Products.times(new DenseBlock(block.rowSize, n, block.toArray), z).toArray, mixed.times(block).toArray)
    }
    close(whole.sums, mixed.sums)
  }

  @Test def itsElementsWindowsAndSums(): Unit = for (a <- forms(30, 11)) {
    val whole = new DenseBlock(30, 11, a.toArray)
    for (i <- 0 until 30; j <- 0 until 11) assertEquals(whole.getQuick(i, j), a.getQuick(i, j))
    close(whole.viewPart(4, 9, 2, 5).asInstanceOf[Block].toArray, a.viewPart(4, 9, 2, 5).asInstanceOf[Block].toArray)
    close(whole.viewPart(29, 1, 0, 11).asInstanceOf[Block].toArray, a.viewPart(29, 1, 0, 11).asInstanceOf[Block].toArray)
    for (f <- Seq[Double => Double](identity, x => x * x, x => if (x == 0.0) 1.0 else 0.0)) {
      val (expected, found) = (new Array[Double](11), new Array[Double](11))
      Passes.addColumns(whole, f, expected)
      Passes.addColumns(a, f, found)
      close(expected, found)
    }
    assertThrows(classOf[UnsupportedOperationException], () => a.setQuick(0, 0, 1.0))
    a.clone().setQuick(0, 0, 1.0) // what a block function gets
  }

  @Test def bothSerialisersSendIt(): Unit = for (a <- forms(12, 7)) {
    val bytes = new ByteArrayOutputStream
    new ObjectOutputStream(bytes).writeObject(a)
    val byJava = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray)).readObject().asInstanceOf[SparseBlock]
    val (kryo, out) = (new Kryo, new Output(64, -1))
    kryo.register(classOf[SparseBlock])
    kryo.writeClassAndObject(out, a)
    val byKryo = kryo.readClassAndObject(new Input(out.toBytes)).asInstanceOf[SparseBlock]
    for (b <- Seq(byJava, byKryo)) {
      assertArrayEquals(a.toArray, b.toArray)
      assertEquals(b.starts.last, b.values.length, "only its own rows travel")
    }
  }
}
