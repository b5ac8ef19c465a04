"""What stands beside the research: doctor, export, demo, bench."""
