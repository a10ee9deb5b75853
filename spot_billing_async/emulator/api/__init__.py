"""HTTP operations of the emulated API."""
