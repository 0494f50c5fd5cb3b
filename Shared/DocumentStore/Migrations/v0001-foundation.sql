-- The store of Matryoshka: collections, their documents and vectors, the change log, leadership, and what operators see.
-- Runs inside one transaction, as the owner of everything below. Functions that writers may call run as that owner.

DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        -- A document's slot is taken from the md5 of its id, which depends on the encoding.
        RAISE EXCEPTION 'the database must have encoding UTF8, not %', current_setting('server_encoding');
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS matryoshka;
CREATE SCHEMA IF NOT EXISTS ops;

-- ---------------------------------------------------------------------------------------------------------------------
-- Roles. Where this user may not create roles, an administrator can create them later and call grant_roles().

CREATE FUNCTION matryoshka.create_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('matryoshka_writer', 'NOLOGIN'), ('matryoshka_reader', 'NOLOGIN'), ('matryoshka_dashboard', 'LOGIN CONNECTION LIMIT 10')
    ) AS w(role, options) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.role);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.role, wanted.options);
            IF wanted.role = 'matryoshka_dashboard' THEN
                EXECUTE 'ALTER ROLE matryoshka_dashboard SET statement_timeout = ''5s''';
                EXECUTE 'ALTER ROLE matryoshka_dashboard SET default_transaction_read_only = on';
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % is missing and may not be created by %', wanted.role, current_user;
            -- Roles belong to the server: another database may be migrating at the same time.
            WHEN duplicate_object OR unique_violation OR internal_error THEN NULL;
        END;
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Models, collections, aliases

CREATE TABLE matryoshka.models (
    id text PRIMARY KEY,
    name text NOT NULL,
    dimensions int NOT NULL CHECK (dimensions BETWEEN 1 AND 65535),
    smallest_dimensions int NOT NULL CHECK (smallest_dimensions BETWEEN 1 AND dimensions),
    nesting int[] NOT NULL,
    record jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE matryoshka.collections (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'dropped')),
    model text REFERENCES matryoshka.models,
    dimensions int NOT NULL CHECK (dimensions BETWEEN 1 AND 65535),
    smallest_dimensions int NOT NULL CHECK (smallest_dimensions BETWEEN 1 AND dimensions),
    is_matryoshka boolean NOT NULL,
    similarity text NOT NULL CHECK (similarity IN ('cosine', 'dot')),
    head_width int NOT NULL CHECK (head_width BETWEEN 1 AND dimensions),
    generation int NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz
);
CREATE UNIQUE INDEX collections_name ON matryoshka.collections (name) WHERE state = 'active';

-- Settings that change while a collection serves. The newest above collections.generation is the one asked for.
CREATE TABLE matryoshka.generations (
    collection int NOT NULL REFERENCES matryoshka.collections,
    generation int NOT NULL,
    resident_width int NOT NULL CHECK (resident_width >= 1),
    resident_precision text NOT NULL CHECK (resident_precision IN ('int8', 'float32')),
    asked_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    PRIMARY KEY (collection, generation)
);

CREATE TABLE matryoshka.aliases (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    collection int NOT NULL REFERENCES matryoshka.collections
);

-- Never reset and owned by no column, so that not even TRUNCATE … RESTART IDENTITY uses an id again.
CREATE SEQUENCE matryoshka.internal_id;

-- The first 16 bits of md5; a document never leaves its slot.
CREATE FUNCTION matryoshka.slot(external_id text) RETURNS int
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ('x' || left(md5(external_id), 4))::bit(16)::int $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Change log: one row per statement and partition of heads. ids NULL: load the shard anew.

CREATE TABLE matryoshka.changes (
    collection int NOT NULL,
    shard smallint NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    slots int[],
    ids bigint[],
    -- The clock, not the transaction's start: a row must never land in a partition that is about to be dropped.
    at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (at);
CREATE INDEX changes_xid ON matryoshka.changes (collection, xid);
CREATE TABLE matryoshka.changes_rest PARTITION OF matryoshka.changes DEFAULT;

-- The highest transaction whose rows retention has dropped.
CREATE TABLE matryoshka.change_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xid xid8 NOT NULL
);
INSERT INTO matryoshka.change_horizon (xid) VALUES ('0');

CREATE FUNCTION matryoshka.log_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO matryoshka.changes (collection, shard, slots, ids)
        SELECT tg_argv[0]::int, changed.slot >> 10, array_agg(changed.slot), array_agg(changed.id)
        FROM changed GROUP BY changed.slot >> 10;
    RETURN NULL;
END $$;

CREATE FUNCTION matryoshka.log_reload() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    INSERT INTO matryoshka.changes (collection, shard) VALUES (tg_argv[0]::int, tg_argv[1]::smallint);
    RETURN NULL;
END $$;

-- Whether a follower at that snapshot has missed rows that retention dropped. A transaction that still runs has none
-- among them, because dropping waits for it.
CREATE FUNCTION matryoshka.is_behind_retention(last pg_snapshot) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT horizon.xid >= pg_snapshot_xmax(last) OR EXISTS (
        SELECT FROM pg_snapshot_xip(last) AS running
        WHERE running <= horizon.xid AND pg_visible_in_snapshot(running, pg_current_snapshot())
    )
    FROM matryoshka.change_horizon AS horizon
    $$;

-- Which server this is; a follower of another one, or of another timeline, starts anew.
CREATE FUNCTION matryoshka.primary_identity() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT system_identifier || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system() $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Tables of a collection

CREATE FUNCTION matryoshka.create_tables(collection int, dimensions int, head_width int) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    -- PLAIN rows are never moved out of line, but must fit a page.
    storage text := CASE WHEN head_width <= 1900 THEN 'PLAIN' ELSE 'EXTERNAL' END;
BEGIN
    EXECUTE format($sql$
        CREATE TABLE matryoshka.documents_%1$s (
            id bigint NOT NULL UNIQUE,
            slot int NOT NULL GENERATED ALWAYS AS (matryoshka.slot(external_id)) STORED,
            version int NOT NULL DEFAULT 1,
            pending boolean NOT NULL,
            external_id text COLLATE "C" PRIMARY KEY CHECK (octet_length(external_id) BETWEEN 1 AND 512),
            text text,
            payload jsonb
        );
        CREATE INDEX documents_%1$s_pending ON matryoshka.documents_%1$s (id) WHERE pending;

        CREATE TABLE matryoshka.heads_%1$s (
            id bigint NOT NULL,
            slot int NOT NULL CHECK (slot BETWEEN 0 AND 65535),
            version int NOT NULL,
            head bytea NOT NULL CHECK (octet_length(head) = %2$s),
            PRIMARY KEY (slot, id)
        ) PARTITION BY RANGE (slot);
        ALTER TABLE matryoshka.heads_%1$s ALTER COLUMN head SET STORAGE %4$s;

        CREATE TABLE matryoshka.tails_%1$s (
            id bigint PRIMARY KEY,
            slot int NOT NULL,
            external_id text COLLATE "C" NOT NULL,
            tail bytea NOT NULL CHECK (octet_length(tail) = %3$s)
        ) WITH (toast_tuple_target = 8160);
        ALTER TABLE matryoshka.tails_%1$s ALTER COLUMN tail SET STORAGE EXTERNAL;

        CREATE TRIGGER log_insert AFTER INSERT ON matryoshka.heads_%1$s REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION matryoshka.log_changes(%1$s);
        CREATE TRIGGER log_update AFTER UPDATE ON matryoshka.heads_%1$s REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION matryoshka.log_changes(%1$s);
        CREATE TRIGGER log_delete AFTER DELETE ON matryoshka.heads_%1$s REFERENCING OLD TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION matryoshka.log_changes(%1$s);
        $sql$, collection, head_width * 4, (dimensions - head_width) * 4, storage);
    FOR shard IN 0..63 LOOP
        EXECUTE format($sql$
            CREATE TABLE matryoshka.heads_%1$s_%2$s PARTITION OF matryoshka.heads_%1$s FOR VALUES FROM (%3$s) TO (%4$s);
            -- On the partitions: fires when one is truncated, and when all are.
            CREATE TRIGGER log_truncate AFTER TRUNCATE ON matryoshka.heads_%1$s_%2$s
                FOR EACH STATEMENT EXECUTE FUNCTION matryoshka.log_reload(%1$s, %2$s);
            $sql$, collection, shard, shard * 1024, (shard + 1) * 1024);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'matryoshka_reader') THEN
        EXECUTE format(
            'GRANT SELECT ON matryoshka.documents_%1$s, matryoshka.heads_%1$s, matryoshka.tails_%1$s TO matryoshka_reader',
            collection);
    END IF;
END $$;

CREATE FUNCTION matryoshka.create_collection(
    name text, model text, dimensions int, smallest_dimensions int, is_matryoshka boolean, similarity text,
    head_width int, resident_width int, resident_precision text
) RETURNS int
    LANGUAGE plpgsql
    AS $$
#variable_conflict use_column
DECLARE
    made int;
    bound matryoshka.models;
BEGIN
    -- Names of collections and aliases are one space; this lock keeps two sessions from taking one at the same time.
    PERFORM pg_advisory_xact_lock(hashtext('matryoshka.names'));
    IF EXISTS (SELECT FROM matryoshka.collections c WHERE c.name = $1 AND c.state = 'active')
        OR EXISTS (SELECT FROM matryoshka.aliases a WHERE a.name = $1) THEN
        RAISE EXCEPTION 'collection or alias "%" exists already', $1 USING ERRCODE = 'MR011';
    END IF;
    IF $2 IS NOT NULL THEN
        SELECT * INTO bound FROM matryoshka.models m WHERE m.id = $2;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'model "%" is not registered', $2 USING ERRCODE = 'MR013';
        ELSIF bound.dimensions <> $3 THEN
            RAISE EXCEPTION 'model "%" has % dimensions, not %', $2, bound.dimensions, $3 USING ERRCODE = 'MR012';
        END IF;
    END IF;
    IF $8 NOT BETWEEN 1 AND $7 THEN
        RAISE EXCEPTION 'resident width % is not in 1 to the stored head width %', $8, $7 USING ERRCODE = 'MR012';
    END IF;
    INSERT INTO matryoshka.collections
        (name, model, dimensions, smallest_dimensions, is_matryoshka, similarity, head_width)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id INTO made;
    INSERT INTO matryoshka.generations (collection, generation, resident_width, resident_precision, completed_at)
        VALUES (made, 1, $8, $9, now());
    PERFORM matryoshka.create_tables(made, $3, $7);
    RETURN made;
EXCEPTION WHEN check_violation THEN
    RAISE EXCEPTION 'collection "%" cannot be: %', $1, SQLERRM USING ERRCODE = 'MR012';
END $$;

-- Drops the tables of collections that were marked dropped.
CREATE FUNCTION matryoshka.drop_tables(collection int) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM matryoshka.collections c WHERE c.id = collection AND c.state = 'dropped';
    IF NOT FOUND THEN RETURN; END IF;
    EXECUTE format(
        'DROP TABLE IF EXISTS matryoshka.heads_%1$s, matryoshka.tails_%1$s, matryoshka.documents_%1$s', collection);
END $$;

-- The number of an active collection, by name or alias.
CREATE FUNCTION matryoshka.collection_id(name text) RETURNS int
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found_id int;
BEGIN
    SELECT c.id INTO found_id FROM matryoshka.collections c
        WHERE c.state = 'active' AND (c.name = $1 OR c.id = (SELECT a.collection FROM matryoshka.aliases a WHERE a.name = $1));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no collection "%"', $1 USING ERRCODE = 'MR010';
    END IF;
    RETURN found_id;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Checks of vectors. They are float32, little-endian, in bytea.

CREATE FUNCTION matryoshka.float_at(vector bytea, i int) RETURNS float8
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN exponent = 255 THEN 'NaN'::float8
        WHEN exponent = 0 THEN mantissa * 2.0::float8 ^ -149
        ELSE (8388608 + mantissa) * 2.0::float8 ^ (exponent - 150)
    END
    FROM (
        SELECT get_byte(vector, 4 * i + 3) % 128 * 2 + get_byte(vector, 4 * i + 2) / 128 AS exponent,
            get_byte(vector, 4 * i + 2) % 128 * 65536 + get_byte(vector, 4 * i + 1) * 256 + get_byte(vector, 4 * i)
                AS mantissa
    ) AS parts
    $$;

-- MR002 (a value or the squared norm is not finite in float32), MR003 (the squared norm is 0 in float32) or NULL.
CREATE FUNCTION matryoshka.value_fault(vector bytea) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN bool_or(x = 'NaN') OR sum(x * x) > 3.4028235e38::float8 THEN 'MR002'
        WHEN coalesce(sum(CASE WHEN x * x < 2.0::float8 ^ -149 THEN 0 ELSE x * x END), 0) = 0 THEN 'MR003'
    END
    FROM (SELECT matryoshka.float_at(vector, i) AS x FROM generate_series(0, octet_length(vector) / 4 - 1) AS i) AS elements
    $$;

-- Looks at exponents by regular expression, for decoding every float is a hundred times slower. Every fourth byte,
-- in hexadecimal, starts with sign and the exponent's top three bits. No value of 2^33 or more, and one of 2^-63 or
-- more: finite, and not zero. Anything else is decoded.
CREATE FUNCTION matryoshka.vector_fault(vector bytea, text_given boolean, dimensions int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN vector IS NULL THEN CASE WHEN text_given THEN NULL ELSE 'MR004' END
        WHEN octet_length(vector) <> 4 * dimensions THEN 'MR001'
        WHEN encode(vector, 'hex') ~ '^(.{8})*.{6}[567def]' OR encode(vector, 'hex') !~ '^(.{8})*.{6}[2-7a-f]'
            THEN matryoshka.value_fault(vector)
    END
    $$;

CREATE FUNCTION matryoshka.float_bytes(vector real[]) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF array_position(vector, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'vectors[0] has an element that is NULL' USING ERRCODE = 'MR002', DETAIL = 'row 0';
    END IF;
    RETURN coalesce((
        SELECT string_agg(substr(e, 4, 1) || substr(e, 3, 1) || substr(e, 2, 1) || substr(e, 1, 1), ''::bytea ORDER BY i)
        FROM unnest(vector) WITH ORDINALITY AS u(x, i), float4send(x) AS e), ''::bytea);
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Writes

-- Rows wait here, within one transaction, until upsert_staged takes them. Later rows have higher ordinals.
CREATE UNLOGGED TABLE matryoshka.staging (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ordinal bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    collection int NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    text text,
    payload jsonb,
    vector bytea
) WITH (
    toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE matryoshka.staging ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE INDEX staging_xid ON matryoshka.staging (xid);

-- A row of staging belongs to the transaction that wrote it, whatever the writer says.
CREATE FUNCTION matryoshka.own_staged_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'staged rows belong to the transaction that writes them' USING ERRCODE = 'MR014';
END $$;
CREATE TRIGGER own_rows BEFORE INSERT ON matryoshka.staging FOR EACH ROW
    WHEN (NEW.xid <> pg_current_xact_id()) EXECUTE FUNCTION matryoshka.own_staged_row();

-- Applies rows that `source` selects (ordinal, external_id, text, payload, vector): checks all, lets the last of a
-- repeated id win, locks documents in the order of their ids. $1 to $4 are arrays, $5 the collection.
CREATE FUNCTION matryoshka.apply_rows(
    collection int, source text, ids text[], texts text[], payloads jsonb[], vectors bytea[],
    OUT applied int, OUT shards int[], OUT token xid8
)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '64MB'
    -- The planner takes a batch for a few rows and would compare each with each.
    SET enable_nestloop = off
    AS $$
DECLARE
    shape matryoshka.collections;
    fault record;
    fault_row bigint;
    pending_slots int[];
    pending_ids bigint[];
    kept_slots int[];
    kept_ids bigint[];
    kept_versions int[];
BEGIN
    SELECT * INTO shape FROM matryoshka.collections c WHERE c.id = collection AND c.state = 'active';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no collection number %', collection USING ERRCODE = 'MR010';
    END IF;

    EXECUTE format($sql$
        SELECT s.ordinal, s.external_id, s.code, s.bytes FROM (
            SELECT r.ordinal, r.external_id, octet_length(r.vector) AS bytes,
                CASE WHEN octet_length(r.external_id) BETWEEN 1 AND 512
                    THEN matryoshka.vector_fault(r.vector, r.text IS NOT NULL, %s) ELSE 'MR005' END AS code
            FROM (%s) AS r
        ) AS s WHERE s.code IS NOT NULL ORDER BY s.ordinal LIMIT 1
        $sql$, shape.dimensions, source) INTO fault USING ids, texts, payloads, vectors, collection;
    IF fault.code IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM (%s) AS r WHERE r.ordinal < %s', source, fault.ordinal)
            INTO fault_row USING ids, texts, payloads, vectors, collection;
        RAISE EXCEPTION '%', CASE fault.code
            WHEN 'MR001' THEN format('vectors[%s] of document "%s" has %s bytes, not the %s of %s dimensions',
                fault_row, fault.external_id, fault.bytes, shape.dimensions * 4, shape.dimensions)
            WHEN 'MR002' THEN format('vectors[%s] of document "%s" or its norm is not finite', fault_row, fault.external_id)
            WHEN 'MR003' THEN format('vectors[%s] of document "%s" is zero', fault_row, fault.external_id)
            WHEN 'MR004' THEN format('document %s, "%s", has neither text nor vector', fault_row, fault.external_id)
            ELSE format('document %s has an id that is not 1 to 512 bytes long', fault_row)
            END
            USING ERRCODE = fault.code,
                DETAIL = format('row %s, got %s, expected %s', fault_row, coalesce(fault.bytes, 0) / 4, shape.dimensions);
    END IF;

    EXECUTE format($sql$
        WITH latest AS MATERIALIZED (
            SELECT DISTINCT ON (r.external_id) r.external_id, r.text, r.payload, r.vector
            FROM (%2$s) AS r ORDER BY r.external_id, r.ordinal DESC
        ), written AS (
            INSERT INTO matryoshka.documents_%1$s AS d (id, pending, external_id, text, payload)
                SELECT nextval('matryoshka.internal_id'), l.vector IS NULL, l.external_id, l.text, l.payload
                FROM latest AS l ORDER BY l.external_id
            ON CONFLICT (external_id) DO UPDATE SET
                version = d.version + 1, text = EXCLUDED.text, payload = EXCLUDED.payload,
                -- An unchanged text keeps its vector.
                pending = EXCLUDED.pending AND (d.pending OR d.text IS DISTINCT FROM EXCLUDED.text)
            RETURNING d.id, d.slot, d.version, d.pending, d.external_id
        ), heads AS (
            INSERT INTO matryoshka.heads_%1$s AS h (id, slot, version, head)
                SELECT w.id, w.slot, w.version, substring(l.vector FROM 1 FOR %3$s)
                FROM written AS w JOIN latest AS l USING (external_id) WHERE l.vector IS NOT NULL
            ON CONFLICT (slot, id) DO UPDATE SET version = EXCLUDED.version, head = EXCLUDED.head
        ), tails AS (
            INSERT INTO matryoshka.tails_%1$s AS t (id, slot, external_id, tail)
                SELECT w.id, w.slot, w.external_id, substring(l.vector FROM %3$s + 1)
                FROM written AS w JOIN latest AS l USING (external_id) WHERE l.vector IS NOT NULL
            ON CONFLICT (id) DO UPDATE SET tail = EXCLUDED.tail
        )
        SELECT count(*), coalesce(array_agg(DISTINCT w.slot >> 10), '{}'),
            array_agg(w.slot) FILTER (WHERE w.pending), array_agg(w.id) FILTER (WHERE w.pending),
            array_agg(w.slot) FILTER (WHERE w.kept), array_agg(w.id) FILTER (WHERE w.kept),
            array_agg(w.version) FILTER (WHERE w.kept)
        FROM (
            SELECT d.*, NOT d.pending AND l.vector IS NULL AS kept FROM written AS d JOIN latest AS l USING (external_id)
        ) AS w
        $sql$, collection, source, shape.head_width * 4)
        INTO applied, shards, pending_slots, pending_ids, kept_slots, kept_ids, kept_versions
        USING ids, texts, payloads, vectors, collection;

    -- The vector of an older text must not be found any more.
    IF pending_ids IS NOT NULL THEN
        PERFORM matryoshka.delete_vectors(collection, pending_slots, pending_ids);
    END IF;
    -- The payload may be another: whoever keeps it by the version of the row must hear of it.
    IF kept_ids IS NOT NULL THEN
        PERFORM matryoshka.touch_vectors(collection, kept_slots, kept_ids, kept_versions);
    END IF;
    token := pg_current_xact_id();
END $$;

-- Gives vectors that stay as they are the version of their documents.
CREATE FUNCTION matryoshka.touch_vectors(collection int, slots int[], ids bigint[], versions int[]) RETURNS void
    LANGUAGE plpgsql SET enable_nestloop = on
    AS $$
BEGIN
    -- The slots also as constants, so that only their partitions are locked.
    EXECUTE format($sql$
        UPDATE matryoshka.heads_%1$s AS h SET version = kept.version
            FROM unnest($1, $2, $3) AS kept(slot, id, version)
            WHERE h.slot = kept.slot AND h.id = kept.id AND h.slot = ANY (%2$L::int[])
        $sql$, collection, (SELECT array_agg(DISTINCT s) FROM unnest(slots) AS s)) USING slots, ids, versions;
END $$;

CREATE FUNCTION matryoshka.delete_vectors(collection int, slots int[], ids bigint[]) RETURNS void
    LANGUAGE plpgsql SET enable_nestloop = on
    AS $$
BEGIN
    -- The slots also as constants, so that only their partitions are locked.
    EXECUTE format($sql$
        DELETE FROM matryoshka.heads_%1$s AS h USING unnest($1, $2) AS gone(slot, id)
            WHERE h.slot = gone.slot AND h.id = gone.id AND h.slot = ANY (%2$L::int[])
        $sql$, collection, (SELECT array_agg(DISTINCT s) FROM unnest(slots) AS s)) USING slots, ids;
    EXECUTE format('DELETE FROM matryoshka.tails_%1$s WHERE id = ANY ($1)', collection) USING ids;
END $$;

-- Rows of several documents, in order; the last of a repeated id wins. Vector NULL: the text waits to be encoded.
CREATE FUNCTION matryoshka.upsert_many(
    collection int, ids text[], texts text[], payloads jsonb[], vectors bytea[],
    OUT applied int, OUT shards int[], OUT token xid8
)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT * FROM matryoshka.apply_rows(collection,
        'SELECT u.i AS ordinal, u.e COLLATE "C" AS external_id, u.t AS text, u.p AS payload, u.v AS vector
         FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS u(e, t, p, v, i)',
        ids, texts, payloads, vectors)
    $$;

-- Takes the rows that this transaction has put into staging for the collection.
CREATE FUNCTION matryoshka.upsert_staged(collection int, OUT applied int, OUT shards int[], OUT token xid8)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    SELECT * INTO applied, shards, token FROM matryoshka.apply_rows(collection,
        'SELECT s.ordinal, s.external_id, s.text, s.payload, s.vector
         FROM matryoshka.staging AS s WHERE s.xid = pg_current_xact_id() AND s.collection = $5',
        NULL, NULL, NULL, NULL);
    DELETE FROM matryoshka.staging AS s WHERE s.xid = pg_current_xact_id() AND s.collection = $1;
END $$;

-- For people and plain SQL. The result is the write's token.
CREATE FUNCTION matryoshka.upsert_bytes(collection text, external_id text, text text, payload jsonb, vector bytea)
    RETURNS xid8
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT token FROM matryoshka.upsert_many(
        matryoshka.collection_id(collection), ARRAY[external_id], ARRAY[text], ARRAY[payload], ARRAY[vector])
    $$;

CREATE FUNCTION matryoshka.upsert(collection text, external_id text, text text, payload jsonb, vector real[])
    RETURNS xid8
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT matryoshka.upsert_bytes(collection, external_id, text, payload, matryoshka.float_bytes(vector)) $$;

CREATE FUNCTION matryoshka.delete_many(
    collection int, external_ids text[], OUT applied int, OUT shards int[], OUT unknown text[], OUT token xid8
)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    gone_slots int[];
    gone_ids bigint[];
BEGIN
    PERFORM FROM matryoshka.collections c WHERE c.id = collection AND c.state = 'active';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no collection number %', collection USING ERRCODE = 'MR010';
    END IF;
    EXECUTE format($sql$
        WITH target AS MATERIALIZED (
            SELECT d.id FROM matryoshka.documents_%1$s AS d
            WHERE d.external_id = ANY ($1) ORDER BY d.external_id FOR UPDATE
        ), gone AS (
            DELETE FROM matryoshka.documents_%1$s AS d USING target WHERE d.id = target.id
            RETURNING d.id, d.slot, d.external_id
        )
        SELECT count(*), coalesce(array_agg(DISTINCT slot >> 10), '{}'), array_agg(slot), array_agg(id),
            ARRAY(SELECT DISTINCT e FROM unnest($1) AS e WHERE e NOT IN (SELECT external_id FROM gone) ORDER BY e)
        FROM gone
        $sql$, collection) INTO applied, shards, gone_slots, gone_ids, unknown USING external_ids;
    IF applied > 0 THEN
        PERFORM matryoshka.delete_vectors(collection, gone_slots, gone_ids);
    END IF;
    token := pg_current_xact_id();
END $$;

CREATE FUNCTION matryoshka.delete(collection text, external_id text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT applied = 1 FROM matryoshka.delete_many(matryoshka.collection_id(collection), ARRAY[external_id]) $$;

CREATE TABLE matryoshka.idempotency (
    collection int NOT NULL,
    client text NOT NULL,
    key text NOT NULL CHECK (octet_length(key) <= 64),
    body_hash text NOT NULL,
    token xid8,
    shards int[],
    applied int,
    reply text,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, client, key)
);
CREATE INDEX idempotency_at ON matryoshka.idempotency (at);

CREATE TABLE matryoshka.import_offsets (
    collection int NOT NULL,
    source text NOT NULL,
    position bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, source)
);

-- ---------------------------------------------------------------------------------------------------------------------
-- Leadership, incarnations, the shard map

CREATE TABLE matryoshka.lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    term bigint NOT NULL,
    holder text NOT NULL,
    expires_at timestamptz NOT NULL
);
INSERT INTO matryoshka.lease (term, holder, expires_at) VALUES (0, '', '-infinity');

CREATE TABLE matryoshka.incarnations (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    next bigint NOT NULL
);
INSERT INTO matryoshka.incarnations (next) VALUES (1);

CREATE TABLE matryoshka.map_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    term bigint NOT NULL
);
INSERT INTO matryoshka.map_epoch (epoch, term) VALUES (0, 0);

CREATE TABLE matryoshka.assignments (
    collection int NOT NULL,
    generation int NOT NULL,
    role text NOT NULL,
    shard int NOT NULL,
    worker bigint NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (collection, generation, role, shard, worker)
);

-- ---------------------------------------------------------------------------------------------------------------------
-- What processes report, in batches

CREATE TABLE matryoshka.quarantine (
    collection int NOT NULL,
    id bigint NOT NULL,
    version int NOT NULL,
    slot int NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, id, version)
);

CREATE TABLE matryoshka.worker_status (
    incarnation bigint PRIMARY KEY,
    role text NOT NULL,
    host text NOT NULL,
    pid int NOT NULL,
    state text NOT NULL,
    shards int NOT NULL,
    rows bigint NOT NULL,
    resident_bytes bigint NOT NULL,
    capacity_bytes bigint NOT NULL,
    in_flight int NOT NULL,
    queued int NOT NULL,
    answered bigint NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE UNLOGGED TABLE matryoshka.shard_status (
    collection int NOT NULL,
    generation int NOT NULL,
    role text NOT NULL,
    shard int NOT NULL,
    worker bigint NOT NULL,
    state text NOT NULL,
    rows bigint NOT NULL,
    applied pg_snapshot,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, generation, role, shard, worker)
);

CREATE TABLE matryoshka.search_rollup (
    minute timestamptz NOT NULL,
    coordinator bigint NOT NULL,
    collection int NOT NULL,
    searches bigint NOT NULL,
    partial bigint NOT NULL,
    degraded bigint NOT NULL,
    errors jsonb NOT NULL,
    -- Upper bounds of the histogram's buckets in microseconds, and what fell into each.
    bucket_bounds bigint[] NOT NULL,
    bucket_counts bigint[] NOT NULL,
    PRIMARY KEY (minute, coordinator, collection)
);

CREATE TABLE matryoshka.slow_search (
    at timestamptz NOT NULL DEFAULT now(),
    trace_id text NOT NULL,
    coordinator bigint NOT NULL,
    collection int NOT NULL,
    plan text NOT NULL,
    total_microseconds bigint NOT NULL,
    stage_timings jsonb NOT NULL,
    coverage float8 NOT NULL,
    hits int NOT NULL,
    error text
);
CREATE INDEX slow_search_at ON matryoshka.slow_search (at);

CREATE FUNCTION matryoshka.pending_counts(OUT collection text, OUT documents bigint) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT id, name FROM matryoshka.collections WHERE state = 'active' ORDER BY name LOOP
        collection := c.name;
        BEGIN
            EXECUTE format('SELECT count(*) FROM matryoshka.documents_%s WHERE pending', c.id) INTO documents;
            RETURN NEXT;
        EXCEPTION WHEN undefined_table THEN NULL; -- dropped meanwhile
        END;
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- ops: the stable contract for dashboards

CREATE VIEW ops.workers AS
    SELECT incarnation, role, host, pid, state, last_seen > now() - interval '15 seconds' AS alive, shards, rows,
        resident_bytes, capacity_bytes, in_flight, queued, answered, first_seen, last_seen
    FROM matryoshka.worker_status;

-- One row for each form that is to be held, also where no worker holds any of it.
CREATE VIEW ops.shard_coverage AS
    WITH holdings AS (
        SELECT c.id AS collection, r.role, CASE r.role WHEN 'rerank' THEN 0 ELSE c.generation END AS generation
        FROM matryoshka.collections AS c CROSS JOIN (VALUES ('shortlist'), ('rerank')) AS r(role)
        UNION SELECT s.collection, s.role, s.generation FROM matryoshka.shard_status AS s
    )
    SELECT c.name AS collection, h.role, h.generation, h.role = 'rerank' OR h.generation = c.generation AS current,
        64 AS shards_total,
        count(DISTINCT s.shard) FILTER (WHERE s.state = 'ready') AS shards_ready,
        count(*) FILTER (WHERE s.state = 'ready') AS replicas_ready,
        count(*) FILTER (WHERE s.state <> 'ready') AS replicas_other,
        coalesce(sum(s.rows) FILTER (WHERE s.state = 'ready'), 0) AS rows,
        ARRAY(SELECT g FROM generate_series(0, 63) AS g
            EXCEPT SELECT r.shard FROM matryoshka.shard_status AS r
                WHERE r.collection = h.collection AND r.generation = h.generation AND r.role = h.role AND r.state = 'ready'
            ORDER BY 1) AS shards_missing,
        max(s.reported_at) AS reported_at
    FROM holdings AS h JOIN matryoshka.collections AS c ON c.id = h.collection AND c.state = 'active'
        LEFT JOIN matryoshka.shard_status AS s
            ON s.collection = h.collection AND s.role = h.role AND s.generation = h.generation
    GROUP BY c.name, c.generation, h.collection, h.role, h.generation;

CREATE VIEW ops.search_per_minute AS
    WITH summed AS (
        SELECT r.minute, r.collection, sum(r.searches) AS searches, sum(r.partial) AS partial, sum(r.degraded) AS degraded
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
    SELECT s.minute, coalesce(c.name, s.collection::text) AS collection, s.searches::bigint AS searches,
        s.partial::bigint AS partial, s.degraded::bigint AS degraded,
        coalesce(e.total, 0)::bigint AS errors, coalesce(e.by_code, '{}') AS errors_by_code,
        q.p50 AS p50_microseconds, q.p95 AS p95_microseconds, q.p99 AS p99_microseconds,
        q.bounds AS bucket_bounds_microseconds, q.counts AS bucket_counts
    FROM summed AS s
        LEFT JOIN matryoshka.collections AS c ON c.id = s.collection
        LEFT JOIN errors AS e ON e.minute = s.minute AND e.collection = s.collection
        LEFT JOIN quantiles AS q ON q.minute = s.minute AND q.collection = s.collection;

CREATE VIEW ops.slow_searches AS
    SELECT s.at, s.trace_id, s.coordinator, coalesce(c.name, s.collection::text) AS collection, s.plan,
        s.total_microseconds, s.stage_timings, s.coverage, s.hits, s.error
    FROM matryoshka.slow_search AS s LEFT JOIN matryoshka.collections AS c ON c.id = s.collection;

CREATE VIEW ops.replication_lag AS
    SELECT f.worker, f.role, c.name AS collection, f.oldest AS applied_snapshot,
        lag.changes AS changes_behind, coalesce(extract(epoch FROM now() - lag.since), 0)::float8 AS seconds_behind,
        f.reported_at
    FROM (
        SELECT s.worker, s.role, s.collection, max(s.reported_at) AS reported_at,
            (array_agg(s.applied ORDER BY pg_snapshot_xmax(s.applied)))[1] AS oldest
        FROM matryoshka.shard_status AS s WHERE s.applied IS NOT NULL GROUP BY s.worker, s.role, s.collection
    ) AS f
        JOIN matryoshka.collections AS c ON c.id = f.collection AND c.state = 'active'
        CROSS JOIN LATERAL (
            SELECT count(*) AS changes, min(l.at) AS since FROM matryoshka.changes AS l
            WHERE l.collection = f.collection AND l.xid >= pg_snapshot_xmin(f.oldest)
                AND NOT pg_visible_in_snapshot(l.xid, f.oldest)
        ) AS lag;

CREATE VIEW ops.pending AS SELECT collection, documents FROM matryoshka.pending_counts();

CREATE VIEW ops.quarantine AS
    SELECT coalesce(c.name, q.collection::text) AS collection, q.id, q.version, q.slot, q.reason, q.found_at
    FROM matryoshka.quarantine AS q LEFT JOIN matryoshka.collections AS c ON c.id = q.collection;

-- ---------------------------------------------------------------------------------------------------------------------
-- Upkeep, called now and then by the leader

-- Makes the change log's partitions of the days to come and drops those past retention. Gives up at once where a lock
-- is not free: the next call does it.
CREATE FUNCTION matryoshka.maintain_changes(retention interval DEFAULT '2 days') RETURNS void
    LANGUAGE plpgsql SET lock_timeout = '100ms'
    AS $$
DECLARE
    day date;
    part record;
    highest xid8;
BEGIN
    FOR day IN SELECT current_date + d FROM generate_series(0, 3) AS d LOOP
        CONTINUE WHEN to_regclass(format('matryoshka.changes_%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE matryoshka.changes_%s PARTITION OF matryoshka.changes FOR VALUES FROM (%L) TO (%L)',
                to_char(day, 'YYYYMMDD'), day::timestamptz, (day + 1)::timestamptz);
        -- Rows of that day are in changes_rest already; they stay there.
        EXCEPTION WHEN check_violation OR lock_not_available THEN NULL;
        END;
    END LOOP;
    FOR part IN
        SELECT c.oid::regclass AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS day
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'matryoshka.changes'::regclass AND c.relname ~ '^changes_[0-9]{8}$'
    LOOP
        CONTINUE WHEN (part.day + 1)::timestamptz > now() - retention;
        BEGIN
            -- With this lock nobody who wrote there is still running.
            EXECUTE 'LOCK TABLE matryoshka.changes IN ACCESS EXCLUSIVE MODE';
            EXECUTE format('SELECT xid FROM %s ORDER BY xid DESC LIMIT 1', part.name) INTO highest;
            UPDATE matryoshka.change_horizon SET xid = highest WHERE xid < highest;
            EXECUTE format('DROP TABLE %s', part.name);
        EXCEPTION WHEN lock_not_available THEN NULL;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM matryoshka.changes_rest WHERE at < now() - retention) THEN
        BEGIN
            EXECUTE 'LOCK TABLE matryoshka.changes_rest IN EXCLUSIVE MODE';
            SELECT xid INTO highest FROM matryoshka.changes_rest WHERE at < now() - retention ORDER BY xid DESC LIMIT 1;
            UPDATE matryoshka.change_horizon SET xid = highest WHERE xid < highest;
            DELETE FROM matryoshka.changes_rest WHERE at < now() - retention;
        EXCEPTION WHEN lock_not_available THEN NULL;
        END;
    END IF;
END $$;

CREATE FUNCTION matryoshka.maintain() RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM matryoshka.maintain_changes();
    DELETE FROM matryoshka.idempotency WHERE at < now() - interval '24 hours';
    -- Left by transactions that never called upsert_staged.
    DELETE FROM matryoshka.staging WHERE xid < pg_snapshot_xmin(pg_current_snapshot());
    DELETE FROM matryoshka.search_rollup WHERE minute < now() - interval '30 days';
    DELETE FROM matryoshka.slow_search WHERE at < now() - interval '7 days';
    DELETE FROM matryoshka.worker_status WHERE last_seen < now() - interval '1 day';
    DELETE FROM matryoshka.quarantine WHERE found_at < now() - interval '30 days';
    PERFORM matryoshka.drop_tables(id) FROM matryoshka.collections
        WHERE state = 'dropped' AND to_regclass(format('matryoshka.documents_%s', id)) IS NOT NULL;
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Rights

CREATE FUNCTION matryoshka.grant_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known text[] := ARRAY(SELECT rolname FROM pg_roles WHERE rolname LIKE 'matryoshka\_%');
    collection record;
BEGIN
    REVOKE ALL ON ALL TABLES IN SCHEMA matryoshka, ops FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA matryoshka FROM PUBLIC;
    IF 'matryoshka_writer' = ANY (known) THEN
        GRANT USAGE ON SCHEMA matryoshka, ops TO matryoshka_writer;
        GRANT SELECT ON matryoshka.collections, matryoshka.generations, matryoshka.aliases, matryoshka.models,
            matryoshka.import_offsets TO matryoshka_writer;
        GRANT INSERT (collection, ordinal, external_id, text, payload, vector) ON matryoshka.staging TO matryoshka_writer;
        GRANT INSERT, UPDATE ON matryoshka.import_offsets TO matryoshka_writer;
        GRANT EXECUTE ON FUNCTION matryoshka.upsert, matryoshka.upsert_bytes, matryoshka.upsert_many,
            matryoshka.upsert_staged, matryoshka.delete, matryoshka.delete_many, matryoshka.collection_id,
            matryoshka.slot TO matryoshka_writer;
    END IF;
    IF 'matryoshka_reader' = ANY (known) THEN
        GRANT USAGE ON SCHEMA matryoshka, ops TO matryoshka_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA matryoshka, ops TO matryoshka_reader;
        REVOKE SELECT ON matryoshka.staging, matryoshka.idempotency FROM matryoshka_reader;
        GRANT EXECUTE ON FUNCTION matryoshka.is_behind_retention, matryoshka.primary_identity, matryoshka.slot,
            matryoshka.collection_id, matryoshka.pending_counts TO matryoshka_reader;
        -- A reader that finds a bad row may say so.
        GRANT INSERT ON matryoshka.quarantine TO matryoshka_reader;
    END IF;
    IF 'matryoshka_dashboard' = ANY (known) THEN
        GRANT USAGE ON SCHEMA ops TO matryoshka_dashboard;
        GRANT SELECT ON ALL TABLES IN SCHEMA ops TO matryoshka_dashboard;
        GRANT EXECUTE ON FUNCTION matryoshka.pending_counts TO matryoshka_dashboard;
    END IF;
END $$;

SELECT matryoshka.create_roles();
SELECT matryoshka.grant_roles();
SELECT matryoshka.maintain_changes();
