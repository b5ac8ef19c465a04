"""Results of a run or of enhanced recordings as sentences, Markdown, figures and pages."""
