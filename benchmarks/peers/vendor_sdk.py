"""The vendor's synchronous SDK in threads.

It has no method for cost analysis, so its method for GET requests is called with the path, and its
own conversion of keys is applied. Its rows are plain dictionaries.
"""

from concurrent.futures import ThreadPoolExecutor

from spotinst_sdk2 import SpotinstSession

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import Stopwatch

LIBRARIES = ("spotinst-sdk2", "requests", "urllib3")


def run(task: Task) -> Measurement:
    """Make one call at a time in each thread, by a client that all threads share."""
    session = SpotinstSession(base_url=task.base_url, auth_token=TOKEN)
    client = session.client("admin", print_output=False)

    def call(i: int) -> int:
        day = day_of(i)
        query = {"accountId": "a", "fromDate": day, "toDate": day}
        response = client.send_get("/billingEngine/cost", "costs", query_params=query)
        snake_case = client.convert_json(response, client.camel_to_underscore)
        items = snake_case["response"]["items"]
        assert "account_id" in items[0]
        return len(items)

    with Stopwatch(task) as watch, ThreadPoolExecutor(task.concurrency) as threads:
        rows = sum(threads.map(call, range(task.calls)))
    return watch.measurement(rows)
