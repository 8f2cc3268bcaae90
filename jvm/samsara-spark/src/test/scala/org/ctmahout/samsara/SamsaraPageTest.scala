package org.ctmahout.samsara

import java.io.ByteArrayOutputStream

import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** docs/samsara.md cannot say what does not run. */
class SamsaraPageTest {
  import Local.find

  private lazy val page = find("docs/samsara.md")

  /** What is in a fenced block of Scala or of text, the first after some words. */
  private def block(after: String): String = {
    val from = "```(scala|text)\n".r.findFirstMatchIn(page.substring(page.indexOf(after))).get.end + page.indexOf(after)
    page.substring(from, page.indexOf("```", from))
  }

  @Test def theExamplesAreWhatIsCompiled(): Unit = {
    val here = "jvm/samsara-spark/src/test/scala/org/ctmahout/samsara/SamsaraPage.scala"
    val bindings = "jvm/sparkbindings/src/test/scala/org/ctmahout/sparkbindings/MahoutProgram.scala"
    for ((source, begin, after) <- Seq(
        (here, "// begin", "## An example"),
        (here, "// begin rdds", "An RDD of rows"),
        (bindings, "// begin", "mahout-sparkbindings-spark4"))) {
      val marked = find(source).linesIterator.dropWhile(_.trim != begin).drop(1).takeWhile(_.trim != "// end").toSeq
      assertEquals(marked.map(_.stripPrefix("    ")).mkString("", "\n", "\n"), block(after))
    }
  }

  /** On the cluster, and on the driver. */
  @Test def rddsComeAndGo(): Unit = {
    val (plusOne, gram) = SamsaraPage.rdds(Local.sc)
    assertEquals(Map(0L -> Seq(2.0, 3.0), 1L -> Seq(4.0, 5.0), 2L -> Seq(6.0, 7.0)), plusOne.toMap)
    assertEquals(Map(0 -> Seq(35.0, 44.0), 1 -> Seq(44.0, 56.0)), gram.toMap)
  }

  @Test def andPrintsWhatThePageSays(): Unit = {
    val out = new ByteArrayOutputStream
    Console.withOut(out)(SamsaraPage.run(Local.sc))
    assertEquals(block("It prints"), out.toString("UTF-8"))
  }
}
