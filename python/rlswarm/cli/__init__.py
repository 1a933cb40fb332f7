"""The command line. Nothing imports it; it imports what a command needs only when it runs."""
