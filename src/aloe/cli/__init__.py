"""The command line: one module per command, a parser with one-line errors, tables for the screen."""
