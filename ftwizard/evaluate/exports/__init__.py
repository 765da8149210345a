"""Files of an evaluation for other tools, and a report for people."""
