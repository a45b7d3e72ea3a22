"""The real robot: drivers, cameras, perception, safety and the policy runner."""
