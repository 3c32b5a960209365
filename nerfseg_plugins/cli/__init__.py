"""The `nerfseg` command, one file a subcommand."""
