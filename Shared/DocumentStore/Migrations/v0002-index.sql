-- What shortlist workers hold beside heads, how they find rows, and what is learnt for it.

-- Things learnt from a collection's rows: centroids of inverted lists, rotations. Never changed, only replaced.
CREATE TABLE matryoshka.artefacts (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection int NOT NULL REFERENCES matryoshka.collections,
    subject text NOT NULL CHECK (subject IN ('centroids', 'rotation')),
    -- float32, little-endian, row-major.
    row_count int NOT NULL CHECK (row_count >= 1),
    column_count int NOT NULL CHECK (column_count >= 1),
    content bytea NOT NULL CHECK (octet_length(content)::bigint = 4::bigint * row_count * column_count),
    -- Rows that the collection had then, and a figure of how well it fits them, to be compared with later ones.
    learnt_from bigint NOT NULL,
    fit double precision,
    made_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE matryoshka.artefacts ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE matryoshka.collections
    ADD COLUMN rotation text NOT NULL DEFAULT 'none' CHECK (rotation IN ('none', 'pca'));

ALTER TABLE matryoshka.generations
    ADD COLUMN resident_signs boolean NOT NULL DEFAULT false,
    ADD COLUMN index_kind text NOT NULL DEFAULT 'flat' CHECK (index_kind IN ('flat', 'ivf', 'hnsw')),
    ADD COLUMN lists int NOT NULL DEFAULT 0 CHECK (lists BETWEEN 0 AND 65536),
    ADD COLUMN coarse_dimensions int NOT NULL DEFAULT 0 CHECK (coarse_dimensions >= 0),
    ADD COLUMN links int NOT NULL DEFAULT 16 CHECK (links BETWEEN 2 AND 128),
    ADD COLUMN construction_effort int NOT NULL DEFAULT 100 CHECK (construction_effort BETWEEN 2 AND 2000),
    ADD COLUMN centroids int REFERENCES matryoshka.artefacts,
    ADD COLUMN learnt_rotation int REFERENCES matryoshka.artefacts;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'matryoshka_reader') THEN
        GRANT SELECT ON matryoshka.artefacts TO matryoshka_reader;
    END IF;
END $$;
