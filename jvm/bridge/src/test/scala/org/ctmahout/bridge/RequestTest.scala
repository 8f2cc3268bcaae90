package org.ctmahout.bridge

import org.apache.hadoop.fs.Path
import org.ctmahout.bridge.Testing._
import org.ctmahout.bridge.exchange.{Dtype, MatrixGroup, MatrixManifest}
import org.junit.jupiter.api.Assertions.{assertEquals, assertFalse, assertTrue}
import org.junit.jupiter.api.Test

class RequestTest {

  private def parse(more: String): Request = Request.parse(s"""{"input": "/a", "output": "/b"$more}""")

  private def refuses(more: String, about: String): Unit = {
    val e = refused("CTM_REQUEST_INVALID")(parse(more))
    assertTrue(e.getMessage.contains(about), e.getMessage)
  }

  @Test def hasTheDefaultsOfTheSchema(): Unit = {
    assertEquals(Request("/a", "/b", None, Algorithm.Dssvd, None, 15, 1, 0, wantU = false, None, overwrite = false), parse(""))
    val schema = json(new java.io.File(contract, "request.schema.json")).get("properties")
    assertEquals(schema.get("p").get("default").intValue, parse("").p)
    assertEquals(schema.get("q").get("default").intValue, parse("").q)
    assertEquals(Json.fieldNames(schema).sorted, Request.Keys.sorted)
  }

  @Test def readsEveryKey(): Unit = {
    val request = parse(""", "groups": [2, 0], "k": 3, "p": 0, "q": 20, "seed": 9007199254740991,
      "algorithm": "exact", "want": ["u", "s", "v"], "partitions": 7, "overwrite": true""")
    val expected =
      Request("/a", "/b", Some(Seq(0, 2)), Algorithm.Exact, Some(3), 0, 20, 9007199254740991L, wantU = true, Some(7), overwrite = true)
    assertEquals(expected, request)
  }

  @Test def nullMeansLeftOutWhereTheSchemaAllowsIt(): Unit = {
    assertEquals(parse(""), parse(""", "k": null, "partitions": null, "groups": "all" """))
    refuses(""", "p": null""", "p is null")
    refuses(""", "overwrite": null""", "overwrite is null")
  }

  @Test def takesAnIntegerWrittenAsFloat(): Unit = assertEquals(Some(3L), parse(""", "k": 3.0""").k)

  @Test def refusesWhatIsOutOfRange(): Unit = {
    refuses(""", "k": 0""", "k is 0, expected an integer of at least 1")
    refuses(""", "k": 2.5""", "k is 2.5")
    refuses(""", "k": "3" """, "k is \"3\"")
    refuses(""", "k": true""", "k is true")
    refuses(""", "p": -1""", "p is -1")
    refuses(""", "q": 21""", "an integer from 0 to 20")
    refuses(""", "seed": 9007199254740992""", "seed")
    refuses(""", "seed": 1e400""", "seed")
    refuses(""", "partitions": 100001""", "partitions")
    refuses(""", "algorithm": "svds" """, "algorithm is \"svds\", expected \"dssvd\" or \"exact\" or \"dspca\"")
    refuses(""", "groups": []""", "groups")
    refuses(""", "groups": [1, 1]""", "each group once")
    refuses(""", "groups": [-1]""", "a group is -1")
    refuses(""", "groups": "some" """, "groups")
    refuses(""", "want": ["v"]""", "want")
    refuses(""", "want": ["s", "s"]""", "want")
    refuses(""", "want": ["s", "w"]""", "want")
    refuses(""", "want": "s" """, "want")
    refuses(""", "overwrite": 1""", "overwrite is 1")
  }

  @Test def refusesUnknownKeysAndNamesTheKnown(): Unit = {
    refuses(""", "rank": 3""", "there is no key rank; the keys are input, output, groups")
    refuses(""", "p": 1, "p": 2""", "not JSON")
  }

  @Test def refusesWhatIsNoRequest(): Unit =
    for (text <- Seq("", "[]", "null", "{", "{} {}", "\"x\"", """{"input": "/a"}""", """{"output": "/a"}"""))
      refused("CTM_REQUEST_INVALID")(Request.parse(text))

  @Test def refusesNull(): Unit = {
    refused("CTM_REQUEST_INVALID")(Request.parse(null))
    ()
  }

  @Test def wantsAbsolutePathsOrUris(): Unit = {
    for (path <- Seq("/a b/[1]", "s3a://bucket/a", "file:///a", "hdfs://host:1/a"))
      assertEquals(path, Request.parse(s"""{"input": "$path", "output": "/b"}""").input)
    for (path <- Seq("a", "./a", "", "../a:b/c"))
      refused("CTM_REQUEST_INVALID")(Request.parse(s"""{"input": "$path", "output": "/b"}"""))
  }

  @Test def theManifestGetsWhatTheNumbersDependOn(): Unit = {
    assertEquals("""{"algorithm":"dssvd","k":null,"p":15,"q":1,"seed":0,"want":["s","v"]}""", parse("").parameters.toString)
    assertFalse(parse("").wantU)
  }

  /** The work for each group that is asked for does not grow with the number of groups that there are. */
  @Test def groupsAreLookedUpAndNotListed(): Unit = {
    final class Counted(count: Int) extends IndexedSeq[MatrixGroup] {
      var reads = 0
      override def length: Int = count
      override def apply(i: Int): MatrixGroup = { reads += 1; MatrixGroup(i, 9, 3, "") }
    }
    val there = new Counted(1000)
    val manifest = MatrixManifest(new Path("/a"), Dtype.Float32, there, None, "")
    val found = Job.wanted(parse(s""", "groups": [${there.indices.mkString(", ")}]"""), manifest)
    assertEquals(there.indices, found.map(_.group))
    assertTrue(there.reads < 10 * there.length, s"${there.reads} groups were looked at, of ${there.length}")
  }
}
