package org.ctmahout.samsara
package incore

/** Values, or sums of their squares, that are no finite numbers. */
private[samsara] final class NotFinite(what: String) extends ArithmeticException(what)
