"""The commands of the command line that are not about one report: one file per subject."""
