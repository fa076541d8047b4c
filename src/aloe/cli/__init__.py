"""The command line: one module a command, a parser whose errors are one line, tables for the screen."""
