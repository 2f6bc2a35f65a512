//! Clients by any part of their name, among tens of thousands: of each active connection's client, what is left of the name from
//! the second character on, from the third, and so on. A text is somewhere in the name if the name or one of these tails begins
//! with it, and both are found by an index.
//!
//! As with the names, triggers see to it, so that it holds for what replicas of the version before write. No foreign key: that of
//! the connection does, and one here would hold up who writes any account until the tails of all names are there. Who writes
//! connections, places or the name of a client waits so long (2 s for 50,000 clients); nobody who reads does. PostgreSQL gets the
//! names in the order of characters besides, which is SQLite's: in that of a language, those that begin alike are not together.
//! The indexes of 0004 are for replicas of the version before, there.

pub(crate) const SQLITE: &str = "
CREATE TABLE client_name_tails (
    agency_id uuid NOT NULL,
    tail text NOT NULL,
    connection_id uuid NOT NULL,
    PRIMARY KEY (agency_id, tail, connection_id)
) WITHOUT ROWID;
CREATE TRIGGER connections_tails AFTER UPDATE OF status, client_name_key ON connections
    WHEN OLD.status <> NEW.status OR OLD.client_name_key IS NOT NEW.client_name_key BEGIN
    DELETE FROM client_name_tails
        WHERE agency_id = OLD.agency_id AND connection_id = OLD.id AND OLD.status = 'active' AND tail IN (
            WITH RECURSIVE place (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM place WHERE n < length(OLD.client_name_key))
            SELECT substr(OLD.client_name_key, n) FROM place);
    INSERT INTO client_name_tails (agency_id, tail, connection_id)
        SELECT NEW.agency_id, tail, NEW.id FROM (
            WITH RECURSIVE place (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM place WHERE n < length(NEW.client_name_key))
            SELECT substr(NEW.client_name_key, n) AS tail FROM place)
        WHERE NEW.status = 'active' AND tail <> '';
END;
WITH RECURSIVE place (n) AS (
    SELECT 2 UNION ALL SELECT n + 1 FROM place WHERE n < (SELECT max(length(client_name_key)) FROM connections))
INSERT INTO client_name_tails (agency_id, tail, connection_id)
    SELECT c.agency_id, substr(c.client_name_key, n), c.id
    FROM connections c JOIN place ON n <= length(c.client_name_key) WHERE c.status = 'active';
";

pub(crate) const POSTGRES: &str = "
CREATE INDEX connections_in_order ON connections (agency_id, client_name_key COLLATE \"C\", id) WHERE status = 'active';
CREATE INDEX places_in_order ON places (user_id, client_name_key COLLATE \"C\", connection_id);
CREATE TABLE client_name_tails (
    agency_id uuid NOT NULL,
    tail text COLLATE \"C\" NOT NULL,
    connection_id uuid NOT NULL,
    PRIMARY KEY (agency_id, tail, connection_id)
);
CREATE FUNCTION tails_of(name text) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(name, n) FROM generate_series(2, length(name)) n
$$;
CREATE FUNCTION keep_tails_of_client() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status = NEW.status AND OLD.client_name_key IS NOT DISTINCT FROM NEW.client_name_key THEN
            RETURN NULL;
        END IF;
        IF OLD.status = 'active' THEN
            DELETE FROM client_name_tails
                WHERE agency_id = OLD.agency_id AND connection_id = OLD.id AND tail = ANY (ARRAY(SELECT tails_of(OLD.client_name_key)));
        END IF;
    END IF;
    IF NEW.status = 'active' THEN
        INSERT INTO client_name_tails (agency_id, tail, connection_id)
            SELECT NEW.agency_id, tails_of(NEW.client_name_key), NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER connections_tails AFTER INSERT OR UPDATE OF status, client_id, client_name_key ON connections
    FOR EACH ROW EXECUTE FUNCTION keep_tails_of_client();
INSERT INTO client_name_tails (agency_id, tail, connection_id)
    SELECT agency_id, tails_of(client_name_key), id FROM connections WHERE status = 'active';
";
