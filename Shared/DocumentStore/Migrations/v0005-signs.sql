-- The seed of the rotation whose signs shortlist workers can hold: random, whole in a double, fixed for the collection.
ALTER TABLE matryoshka.collections
    ADD COLUMN sign_seed bigint NOT NULL DEFAULT floor(random() * 9007199254740992)::bigint CHECK (sign_seed >= 0);
