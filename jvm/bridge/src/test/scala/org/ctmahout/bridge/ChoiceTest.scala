package org.ctmahout.bridge

import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

class ChoiceTest {

  private def chosen(n: Int, k: Int, p: Int, q: Int) = Choice.between(n, k, p, q).algorithm.name

  /** The same cases in tests/contract/test_directories.py: both languages choose alike. */
  @Test def whatCostsLessIsChosen(): Unit =
    for ((n, k, p, q, expected) <- Seq(
        (301, 301, 15, 1, "exact"),
        (301, 245, 15, 0, "exact"),
        (301, 50, 15, 0, "dssvd"),
        (301, 50, 15, 1, "exact"),
        (301, 10, 5, 1, "dssvd"),
        (500, 500, 0, 0, "exact"),
        (501, 501, 0, 0, "dssvd"),
        (1, 1, 15, 1, "exact"),
        (301, 301, Int.MaxValue, 20, "exact"),
        (Int.MaxValue, Int.MaxValue, Int.MaxValue, 20, "dssvd")
      ))
      assertEquals(expected, chosen(n, k, p, q), s"n = $n, k = $k, p = $p, q = $q")

  @Test def theSentenceGivesTheFigures(): Unit = {
    val why = Choice.between(301, 245, 15, 1).why
    assertEquals("with 260 directions of 301 columns, passes: 2, exact multiplies 45451 times for a row, dssvd 313040 times", why)
    assertTrue(Choice.between(5000, 5000, 15, 1).why.contains("5000 columns are more than the 500"))
  }
}
