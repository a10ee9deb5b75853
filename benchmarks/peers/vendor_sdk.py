"""The vendor's synchronous SDK, in threads.

It has no method for cost analysis, so its own request machinery is given the path, and its own
conversion makes the keys what they are in its answers. Its rows are plain dictionaries.
"""

from concurrent.futures import ThreadPoolExecutor

from spotinst_sdk2 import SpotinstSession

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import DeadlineTimer

STANDS_ON = ("spotinst-sdk2", "requests", "urllib3")


def run(task: Task) -> Measured:
    """A client that the threads share, and a call each at a time."""
    session = SpotinstSession(base_url=task.base_url, auth_token=TOKEN)
    client = session.client("admin", print_output=False)

    def call(i: int) -> int:
        day = day_of(i)
        query = {"accountId": "a", "fromDate": day, "toDate": day}
        answer = client.send_get("/billingEngine/cost", "costs", query_params=query)
        plain = client.convert_json(answer, client.camel_to_underscore)
        items = plain["response"]["items"]
        assert "account_id" in items[0]
        return len(items)

    with DeadlineTimer(task) as watch, ThreadPoolExecutor(task.concurrency) as threads:
        rows = sum(threads.map(call, range(task.calls)))
    return watch.measured(rows)
