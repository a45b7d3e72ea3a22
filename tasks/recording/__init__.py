"""Makes banks of initial states: by hand in the browser, by inverse kinematics and by scripted play."""
