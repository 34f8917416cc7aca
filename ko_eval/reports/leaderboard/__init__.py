"""A static leaderboard site from the result files of many runs: data first, then pages."""
