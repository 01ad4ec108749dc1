"""Files and facts of the machine: point clouds, trajectories, time stamps, atomic writes."""
