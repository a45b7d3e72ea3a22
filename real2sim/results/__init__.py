"""What a fit has found: judged on logs, with intervals, written and drawn."""
