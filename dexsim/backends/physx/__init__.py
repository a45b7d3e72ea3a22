"""The backend to judge by: PhysX on the CPU, through SAPIEN; one engine scene for each environment."""
