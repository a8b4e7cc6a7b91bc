"""What the page shows of DuckDB; run with duckdb 2.0.1 on a log in orders.csv."""
# SPDX-License-Identifier: BSD-3-Clause

import duckdb

from sklrec import EASERecommender

counts = duckdb.sql(
    """
    SELECT customer, sku, count(*) AS n
    FROM 'orders.csv'
    WHERE customer IS NOT NULL AND sku IS NOT NULL
    GROUP BY customer, sku
    """
).df()
model = EASERecommender(confidence="log").fit(counts[["customer", "sku"]], counts["n"])

lists = model.recommend(n_items=10)
duckdb.sql("COPY lists TO 'lists.parquet'")  # DuckDB finds the table by its name
