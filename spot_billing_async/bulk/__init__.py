"""The bulk pull: plan, engine, outcomes. It knows no HTTP; it is handed a `fetch`."""
