"""The operator as a process beside a cluster: for the demo, tests, fault harnesses and benchmarks."""
