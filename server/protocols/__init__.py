"""Wire protocols: typed messages and state machines without I/O."""
