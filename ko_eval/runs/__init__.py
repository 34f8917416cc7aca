"""The one orchestration, the journal, and the result schema."""
