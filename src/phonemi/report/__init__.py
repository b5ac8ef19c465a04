"""Results of a run -> tables, figures and pages."""
