package org.ctmahout.samsara

/** What the operators of Mahout come to: a table of them, products, joins, numbering, samples, and which closures are recognised. */
package object plan
