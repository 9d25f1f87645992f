"""What this machine is and how it feels: facts, power, disturbance, known problems."""
