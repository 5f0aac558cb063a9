"""What is published, as typed records: one file per kind, versioned and migrated."""

#: The board that the package measures by default and brings along; earlier ones are reached by naming them.
DEFAULT_BOARD = "v1"
