"""What a link of a kind does and costs: delay, rate, loss, energy. Pure."""
