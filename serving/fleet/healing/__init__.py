"""From what is seen of replicas to what is wrong with which: pure rules."""
