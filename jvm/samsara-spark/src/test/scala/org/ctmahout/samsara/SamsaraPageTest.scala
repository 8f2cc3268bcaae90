package org.ctmahout.samsara

import java.io.ByteArrayOutputStream
import java.nio.file.{Files, Path}

import org.junit.jupiter.api.Assertions._
import org.junit.jupiter.api.Test

/** docs/samsara.md cannot say what does not run. */
class SamsaraPageTest {
  private def find(name: String): String = {
    val folders = Iterator.iterate(Path.of("").toAbsolutePath)(_.getParent).takeWhile(_ != null)
    Files.readString(folders.map(_.resolve(name)).find(f => Files.exists(f)).get)
  }
  private lazy val page = find("docs/samsara.md")

  /** What is in a fenced block, the first after some words. */
  private def block(after: String): String = {
    val from = page.indexOf("\n", page.indexOf("```", page.indexOf(after))) + 1
    page.substring(from, page.indexOf("```", from))
  }

  @Test def theExampleIsWhatIsCompiledHere(): Unit = {
    val source = find("jvm/samsara-spark/src/test/scala/org/ctmahout/samsara/SamsaraPage.scala")
    for ((begin, after) <- Seq("// begin" -> "## An example", "// begin rdds" -> "An RDD of yours")) {
      val marked = source.linesIterator.dropWhile(_.trim != begin).drop(1).takeWhile(_.trim != "// end").toSeq
      assertEquals(marked.map(_.stripPrefix("    ")).mkString("", "\n", "\n"), block(after))
    }
  }

  @Test def rddsComeAndGo(): Unit = {
    val found = SamsaraPage.rdds(Local.sc)
    assertEquals(Seq(0L -> 3.0, 1L -> 5.0, 2L -> 7.0), found.take(3).sorted)
    // A'A, which is on the driver: 35, 44, 44, 56.
    assertEquals((2L, 179.0), (found.drop(3).map(_._1).sum, found.drop(3).map(_._2).sum))
  }

  @Test def andPrintsWhatThePageSays(): Unit = {
    val out = new ByteArrayOutputStream
    Console.withOut(out)(SamsaraPage.run(Local.sc))
    assertEquals(block("It prints"), out.toString("UTF-8"))
  }
}
