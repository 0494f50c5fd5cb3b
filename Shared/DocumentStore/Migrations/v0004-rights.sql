-- A role for the services that does not own the schema, and less for everybody than PostgreSQL gives by default.

CREATE OR REPLACE FUNCTION matryoshka.create_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('matryoshka_service', 'NOLOGIN'), ('matryoshka_writer', 'NOLOGIN'), ('matryoshka_reader', 'NOLOGIN'),
        ('matryoshka_dashboard', 'LOGIN CONNECTION LIMIT 10')
    ) AS w(role, options) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.role);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.role, wanted.options);
            IF wanted.role = 'matryoshka_dashboard' THEN
                EXECUTE 'ALTER ROLE matryoshka_dashboard SET statement_timeout = ''5s''';
                EXECUTE 'ALTER ROLE matryoshka_dashboard SET default_transaction_read_only = on';
                EXECUTE 'ALTER ROLE matryoshka_dashboard SET idle_in_transaction_session_timeout = ''60s''';
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % is missing and may not be created by %', wanted.role, current_user;
            -- Roles belong to the server: another database may be migrating at the same time.
            WHEN duplicate_object OR unique_violation OR internal_error THEN NULL;
        END;
    END LOOP;
END $$;

-- Takes from PUBLIC what would let a role that may only look leave something behind or stand in the way, as far as this
-- user may; the result names what is left.
CREATE FUNCTION matryoshka.restrict_public() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    -- Functions by kind. Each comes with the right to run it for everybody.
    kinds CONSTANT text[][] := ARRAY[
        ['large objects', '^(lo_.*|loread|lowrite)$'], ['advisory locks', '^pg_(try_)?advisory_.*$'],
        ['messages in the write-ahead log', '^pg_logical_emit_message$']
    ];
    kind text[];
    function regprocedure;
    role name;
    found text[] := '{}';
BEGIN
    IF has_database_privilege('public', current_database(), 'TEMPORARY, CREATE')
        AND has_database_privilege(current_database(), 'TEMPORARY WITH GRANT OPTION') THEN
        EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
    END IF;
    IF has_database_privilege('public', current_database(), 'TEMPORARY') THEN
        found := found || 'TEMPORARY on the database'::text;
    END IF;
    IF to_regnamespace('public') IS NOT NULL THEN
        IF has_schema_privilege('public', 'public', 'CREATE')
            AND has_schema_privilege('public', 'CREATE WITH GRANT OPTION') THEN
            REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        END IF;
        IF has_schema_privilege('public', 'public', 'CREATE') THEN
            found := found || 'CREATE on schema public'::text;
        END IF;
    END IF;
    FOREACH kind SLICE 1 IN ARRAY kinds LOOP
        FOR function IN
            SELECT oid::regprocedure FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ kind[2]
                AND has_function_privilege('public', oid, 'EXECUTE')
                AND has_function_privilege(oid, 'EXECUTE WITH GRANT OPTION')
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        END LOOP;
        IF EXISTS (
            SELECT FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ kind[2]
                AND has_function_privilege('public', oid, 'EXECUTE')
        ) THEN
            found := found || format('EXECUTE on functions of %s', kind[1]);
        END IF;
    END LOOP;
    -- Locks that we take: migrations, and names of collections.
    IF has_function_privilege('pg_catalog.pg_advisory_lock(bigint)', 'EXECUTE WITH GRANT OPTION') THEN
        FOR role IN
            SELECT rolname FROM pg_roles WHERE rolname = 'matryoshka_service'
                OR oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'matryoshka')
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(bigint),
                pg_catalog.pg_advisory_unlock(bigint), pg_catalog.pg_advisory_xact_lock(bigint) TO %I', role);
        END LOOP;
    END IF;
    RETURN found;
END $$;

-- What makes and drops tables runs as their owner, whoever calls it.
ALTER FUNCTION matryoshka.create_collection SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION matryoshka.drop_tables SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION matryoshka.maintain SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION matryoshka.maintain_changes SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

-- Grants on the tables of a collection that are there or were just made.
CREATE FUNCTION matryoshka.grant_tables(collection int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    role name;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('matryoshka_reader', 'matryoshka_service') LOOP
        EXECUTE format('GRANT SELECT ON matryoshka.documents_%1$s, matryoshka.heads_%1$s, matryoshka.tails_%1$s TO %2$I',
            collection, role);
    END LOOP;
END $$;

-- As before, but for the grants.
CREATE OR REPLACE FUNCTION matryoshka.create_tables(collection int, dimensions int, head_width int) RETURNS void
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
    PERFORM matryoshka.grant_tables(collection);
END $$;

CREATE OR REPLACE FUNCTION matryoshka.grant_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known text[] := ARRAY(SELECT rolname FROM pg_roles WHERE rolname LIKE 'matryoshka\_%');
BEGIN
    REVOKE ALL ON ALL TABLES IN SCHEMA matryoshka, ops FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA matryoshka FROM PUBLIC;
    IF 'matryoshka_service' = ANY (known) THEN
        GRANT USAGE ON SCHEMA matryoshka, ops TO matryoshka_service;
        GRANT SELECT ON ALL TABLES IN SCHEMA matryoshka, ops TO matryoshka_service;
        -- Rows of documents change through the functions alone, as for writers.
        GRANT INSERT (collection, ordinal, external_id, text, payload, vector) ON matryoshka.staging TO matryoshka_service;
        GRANT INSERT, UPDATE ON matryoshka.generations, matryoshka.search_rollup, matryoshka.worker_status
            TO matryoshka_service;
        GRANT INSERT ON matryoshka.models, matryoshka.slow_search TO matryoshka_service;
        GRANT UPDATE ON matryoshka.collections, matryoshka.lease, matryoshka.incarnations, matryoshka.map_epoch
            TO matryoshka_service;
        GRANT INSERT, UPDATE, DELETE ON matryoshka.aliases, matryoshka.artefacts, matryoshka.assignments,
            matryoshka.idempotency, matryoshka.import_offsets, matryoshka.quarantine, matryoshka.shard_status
            TO matryoshka_service;
        GRANT EXECUTE ON FUNCTION matryoshka.upsert, matryoshka.upsert_bytes, matryoshka.upsert_many,
            matryoshka.upsert_staged, matryoshka.delete, matryoshka.delete_many, matryoshka.collection_id,
            matryoshka.slot, matryoshka.is_behind_retention, matryoshka.primary_identity, matryoshka.pending_counts,
            matryoshka.create_collection, matryoshka.drop_tables, matryoshka.maintain TO matryoshka_service;
    END IF;
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
