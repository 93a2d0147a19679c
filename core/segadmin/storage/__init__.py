"""Storage: the database and its records, the lake and its tables, and the locks on both."""
