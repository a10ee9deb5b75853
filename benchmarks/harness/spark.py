"""A script of `benchmarks.claims.readers` for a Python that has pyspark and not this project.

It prints the exact sum of a table's costs: `delta TABLE` reads by the guide's lines,
`parquet TABLE FILE...` the Parquet files that the table's log names.
"""

import sys
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession


def session(kind: str) -> SparkSession:
    """Start a local Spark; with Delta's reader for the kind `delta`."""
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    builder = builder.config("spark.driver.host", "127.0.0.1")
    if kind == "delta":
        # Late: only this kind needs it. It makes Spark download Delta's Java archives.
        from delta import configure_spark_with_delta_pip  # noqa: PLC0415  see above

        builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        builder = builder.config(
            "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
        )
        builder = configure_spark_with_delta_pip(builder)
    return builder.getOrCreate()


def by_service(spark: SparkSession, kind: str, table: str, files: Sequence[str]) -> Any:  # noqa: ANN401  a DataFrame
    """Return the sums of costs by service, by the guide's lines for both kinds."""
    if kind == "delta":
        costs = spark.read.format("delta").load(table)
    else:
        costs = spark.read.option("basePath", table).parquet(*files)
    costs = costs.where("group_by = 'service'")
    return costs.groupBy("service").agg({"cost": "sum"})


def main(kind: str, table: str, files: Sequence[str]) -> None:
    """Print the sum of a table's costs: the sum of the sums by service."""
    spark = session(kind)
    print(sum(row["sum(cost)"] for row in by_service(spark, kind, table, files).collect()))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
