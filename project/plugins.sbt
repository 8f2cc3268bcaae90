addSbtPlugin("com.eed3si9n"       % "sbt-assembly"          % "2.3.1")
addSbtPlugin("com.github.sbt.junit" % "sbt-jupiter-interface" % "0.15.1")
