"""The commands of the command line: one file each (those about checkpoints share one), and what they share.

Every file with a command has ``add(commands)``, which adds its parser; ``run`` of the parsed arguments
returns the exit status. models.py and output.py hold what the commands have in common.
"""
