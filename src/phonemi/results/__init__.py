"""What the stages leave in a run folder, as typed records, and the tables that are made of it."""
