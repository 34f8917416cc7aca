"""What people look at, made from result files only."""
