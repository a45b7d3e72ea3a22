"""Pictures, videos and a live view of a simulation, without a display or a graphics driver."""
