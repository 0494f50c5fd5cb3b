-- How much of a collection its searches have seen, and searches that were refused before their collection was known.

ALTER TABLE matryoshka.search_rollup
    ADD COLUMN complete bigint NOT NULL DEFAULT 0,
    ADD COLUMN shards_asked bigint NOT NULL DEFAULT 0,
    -- Shards that did not answer, by reason: unavailable, timed_out, failed, no_capacity.
    ADD COLUMN shards_missing jsonb NOT NULL DEFAULT '{}';
-- What was answered before was complete or partial too.
UPDATE matryoshka.search_rollup AS r SET complete = greatest(0, r.searches - r.partial
    - (SELECT coalesce(sum(x.value::bigint), 0) FROM jsonb_each_text(r.errors) AS x));

-- New columns are at the end, so that views of others upon it stay.
CREATE OR REPLACE VIEW ops.search_per_minute AS
    WITH summed AS (
        SELECT r.minute, r.collection, sum(r.searches) AS searches, sum(r.partial) AS partial, sum(r.degraded) AS degraded,
            sum(r.complete) AS complete, sum(r.shards_asked) AS shards_asked,
            sum((r.shards_missing->>'unavailable')::bigint) AS unavailable,
            sum((r.shards_missing->>'timed_out')::bigint) AS timed_out,
            sum((r.shards_missing->>'failed')::bigint) AS failed,
            sum((r.shards_missing->>'no_capacity')::bigint) AS no_capacity
        FROM matryoshka.search_rollup AS r GROUP BY r.minute, r.collection
    ), errors AS (
        SELECT e.minute, e.collection, jsonb_object_agg(e.code, e.n) AS by_code, sum(e.n) AS total FROM (
            SELECT r.minute, r.collection, x.key AS code, sum(x.value::bigint) AS n
            FROM matryoshka.search_rollup AS r, jsonb_each_text(r.errors) AS x GROUP BY r.minute, r.collection, x.key
        ) AS e GROUP BY e.minute, e.collection
    ), buckets AS (
        SELECT b.minute, b.collection, b.bound, sum(b.n) AS n,
            sum(sum(b.n)) OVER (PARTITION BY b.minute, b.collection ORDER BY b.bound) AS up_to,
            sum(sum(b.n)) OVER (PARTITION BY b.minute, b.collection) AS total
        FROM (
            SELECT r.minute, r.collection, u.bound, u.n
            FROM matryoshka.search_rollup AS r, unnest(r.bucket_bounds, r.bucket_counts) AS u(bound, n)
        ) AS b GROUP BY b.minute, b.collection, b.bound
    ), quantiles AS (
        SELECT minute, collection, min(bound) FILTER (WHERE up_to >= 0.50 * total) AS p50,
            min(bound) FILTER (WHERE up_to >= 0.95 * total) AS p95, min(bound) FILTER (WHERE up_to >= 0.99 * total) AS p99,
            array_agg(bound ORDER BY bound) AS bounds, array_agg(n::bigint ORDER BY bound) AS counts
        FROM buckets WHERE total > 0 GROUP BY minute, collection
    )
    SELECT s.minute,
        CASE s.collection WHEN 0 THEN '(unknown)' ELSE coalesce(c.name, s.collection::text) END AS collection,
        s.searches::bigint AS searches,
        s.partial::bigint AS partial, s.degraded::bigint AS degraded,
        coalesce(e.total, 0)::bigint AS errors, coalesce(e.by_code, '{}') AS errors_by_code,
        q.p50 AS p50_microseconds, q.p95 AS p95_microseconds, q.p99 AS p99_microseconds,
        q.bounds AS bucket_bounds_microseconds, q.counts AS bucket_counts,
        s.complete::bigint AS complete, s.shards_asked::bigint AS shards_asked, m.missing AS shards_missing,
        coalesce(s.unavailable, 0)::bigint AS shards_unavailable, coalesce(s.timed_out, 0)::bigint AS shards_timed_out,
        coalesce(s.failed, 0)::bigint AS shards_failed, coalesce(s.no_capacity, 0)::bigint AS shards_no_capacity,
        -- NULL where no search came so far that it asked a shard.
        (1 - m.missing / nullif(s.shards_asked, 0))::float8 AS coverage
    FROM summed AS s
        CROSS JOIN LATERAL (
            SELECT (coalesce(s.unavailable, 0) + coalesce(s.timed_out, 0) + coalesce(s.failed, 0)
                + coalesce(s.no_capacity, 0))::bigint AS missing
        ) AS m
        LEFT JOIN matryoshka.collections AS c ON c.id = s.collection
        LEFT JOIN errors AS e ON e.minute = s.minute AND e.collection = s.collection
        LEFT JOIN quantiles AS q ON q.minute = s.minute AND q.collection = s.collection;
