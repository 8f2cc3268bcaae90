addSbtPlugin("com.eed3si9n"       % "sbt-assembly"          % "2.3.1")
addSbtPlugin("com.github.sbt.junit" % "sbt-jupiter-interface" % "0.15.1")
addSbtPlugin("com.typesafe"        % "sbt-mima-plugin"       % "1.1.4")
addSbtPlugin("org.scalameta"       % "sbt-scalafmt"          % "2.5.4")
