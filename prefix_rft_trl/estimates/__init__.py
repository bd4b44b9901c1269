"""What a training takes in memory and time: estimates from sizes and speeds, not measurements."""
