"""Hidden states of every layer -> one sequence [batch, frame, dim]."""
