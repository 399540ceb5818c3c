"""What a target lacks, written in terms of what it has: one op a file."""
