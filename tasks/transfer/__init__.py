"""How a policy fares beyond the simulator it was trained in: robots, cells and report of `dexsim transfer`."""
