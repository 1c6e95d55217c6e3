"""Learning rules: init gives a state, step takes and gives one."""
