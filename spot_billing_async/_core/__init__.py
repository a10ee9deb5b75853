"""Implementation of the client. Users import from `spot_billing_async`, not from here."""
