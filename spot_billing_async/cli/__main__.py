"""`python -m spot_billing_async.cli` is `spot-billing`."""

from spot_billing_async.cli import main

main()
