"""Model files of others, read on the submitter: checked, then handed to the compiler as plain data."""
