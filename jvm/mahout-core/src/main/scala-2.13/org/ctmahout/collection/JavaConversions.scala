package org.ctmahout.collection

import scala.collection.{Map, mutable}
import scala.jdk.CollectionConverters._
import scala.language.implicitConversions

/** The implicit views of Scala 2.12's `scala.collection.JavaConversions` that Mahout 14.1's sources rely on. */
object JavaConversions {
  implicit def asScalaIterable[A](i: java.lang.Iterable[A]): Iterable[A] = i.asScala
  implicit def asScalaIterator[A](i: java.util.Iterator[A]): Iterator[A] = i.asScala
  implicit def asScalaMap[A, B](m: java.util.Map[A, B]): mutable.Map[A, B] = m.asScala
  implicit def asJavaCollection[A](i: Iterable[A]): java.util.Collection[A] = i.asJavaCollection
  implicit def asJavaMap[A, B](m: Map[A, B]): java.util.Map[A, B] = m.asJava
}
