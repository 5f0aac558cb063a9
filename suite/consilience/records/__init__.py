"""What is published, as typed records: one file per kind, versioned and migrated."""
