"""What a policy and any robot share, real or simulated: measurements in, joint targets out."""
