"""Entry point of `python -m spot_billing_async.cli`, which is the `spot-billing` command."""

from spot_billing_async.cli import main

main()
