package org.ctmahout.collection

import scala.collection.convert.{WrapAsJava, WrapAsScala}

/** Scala 2.12's own, under the name that both Scala lines have here. */
object JavaConversions extends WrapAsScala with WrapAsJava
