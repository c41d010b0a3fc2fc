"""What runs on the robot: frozen base policy, residual actor, supervisor, streamer, episodes."""
