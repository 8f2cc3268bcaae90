package org.ctmahout.bridge

import org.ctmahout.bridge.exchange.{PartFooter, PartIndex}
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.Assertions.{assertEquals, assertTrue}

class PartIndexTest {

  /** A file whose row groups, one behind the other, hold these groups. */
  private def file(name: String, rowGroups: (Int, Int, Long)*): PartFooter = {
    val sizes = rowGroups.map(_._3).toArray
    val starts = sizes.scanLeft(4L)(_ + _).init
    PartFooter(s"file:/m/$name", sizes.sum, 0, starts, sizes, rowGroups.map(_._1).toArray, rowGroups.map(_._2).toArray, Array(name))
  }

  /** Of each part, its ranges: file, begin and end. */
  private def ranges(index: PartIndex, groups: Seq[Int], partitions: Int, whole: Boolean = false): Seq[Seq[(String, Long, Long)]] =
    index.ranges(groups, partitions, whole).map(_.ranges.map(r => (r.toPath.getName, r.start, r.start + r.length)))

  private val index = new PartIndex(Seq(
    file("a", (0, 0, 10), (0, 0, 10), (0, 2, 10), (3, 3, 10)),
    file("b", (3, 3, 10), (7, 9, 10))))

  @Test def aGroupIsWhereTheFootersSay(): Unit = {
    assertEquals(Seq(Seq(("a", 4L, 34L))), ranges(index, Seq(0), 1))
    assertEquals(Seq(Seq(("a", 24L, 34L))), ranges(index, Seq(1), 8))
    assertEquals(Seq(Seq(("a", 34L, 44L), ("b", 4L, 14L))), ranges(index, Seq(3), 1))
    assertEquals(Seq(Seq(("b", 14L, 24L))), ranges(index, Seq(8), 1))
    assertEquals(Seq(Seq(("a", 4L, 14L)), Seq(("a", 14L, 24L)), Seq(("a", 24L, 34L))), ranges(index, Seq(0), 3))
    assertEquals(Nil, ranges(index, Seq(4, 5, 10, -1), 3))
  }

  @Test def whatLiesBetweenTwoGroupsIsLeftOut(): Unit =
    assertEquals(Seq(Seq(("a", 4L, 34L), ("b", 14L, 24L))), ranges(index, Seq(9, 0), 1))

  @Test def aGroupStaysInOnePartWhereThatIsWished(): Unit = {
    assertEquals(
      Seq(Seq(("a", 4L, 34L)), Seq(("a", 34L, 44L), ("b", 4L, 14L)), Seq(("b", 14L, 24L))),
      ranges(index, Seq(0, 3, 7), 3, whole = true))
    assertEquals(Seq("a", "a", "b"), index.ranges(Seq(0, 3, 7), 3, whole = true).map(_.hosts.head))
  }

  @Test def withoutStatisticsARowGroupMayHoldAnyGroup(): Unit = {
    val (first, last) = PartIndex.Unknown
    val some = new PartIndex(Seq(file("a", (0, 0, 10), (first, last, 10), (1, 1, 10))))
    assertEquals(Seq(Seq(("a", 4L, 24L))), ranges(some, Seq(0), 1))
    assertEquals(Seq(Seq(("a", 14L, 34L))), ranges(some, Seq(1), 1))
    assertEquals(Seq(Seq(("a", 14L, 24L))), ranges(some, Seq(Int.MaxValue), 1))
  }

  /** Each row group that may hold rows of a group that is asked for is in exactly one part, and no other is. */
  @Test def nothingIsLeftOutOrReadTwice(): Unit = {
    val random = new scala.util.Random(24)
    for (_ <- 1 to 200) {
      val files = Seq.tabulate(1 + random.nextInt(4)) { f =>
        file(
          s"f$f",
          Seq.fill(random.nextInt(6)) {
            val first = random.nextInt(20)
            (first, first + random.nextInt(3), 1L + random.nextInt(100))
          }: _*)
      }
      val groups = Seq.fill(1 + random.nextInt(5))(random.nextInt(22)).distinct
      val expected =
        for (f <- files; i <- f.starts.indices; if groups.exists(g => f.first(i) <= g && g <= f.last(i))) yield (f.path, f.starts(i))
      for (whole <- Seq(false, true); partitions <- Seq(1, 2, 5, 50)) {
        val parts = new PartIndex(files).ranges(groups, partitions, whole)
        assertTrue(parts.size <= partitions)
        val found = for (part <- parts; r <- part.ranges; f <- files if f.path == r.toPath.toString; i <- f.starts.indices
          if r.start <= f.starts(i) && f.starts(i) + f.sizes(i) <= r.start + r.length) yield (f.path, f.starts(i))
        assertEquals(expected.sorted, found.sorted)
      }
    }
  }
}
