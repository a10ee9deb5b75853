"""Data of the emulated API: the embedded database, FOCUS ingestion and the sample."""
