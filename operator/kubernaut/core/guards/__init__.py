"""Guards, decided: pure functions of what levels say, what is known of other runs, what is seen, and the time."""
