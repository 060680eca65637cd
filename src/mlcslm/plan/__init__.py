"""What a configuration costs before anything is trained: sizes, memory, operations, jobs and GPU hours."""
