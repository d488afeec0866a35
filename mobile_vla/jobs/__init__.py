"""One job from its words to its report: the folder it takes, how it ends, what it leaves."""
