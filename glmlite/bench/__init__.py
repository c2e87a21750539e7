"""How fast a bundle runs on this machine, and random models to measure where there is none."""
