//! Clients by any part of their name, among tens of thousands: every three characters that follow each other in the name of an
//! active connection's client.
//!
//! The name counts as if two blanks followed it, so that a text of one or two characters is the beginning of some piece too. As
//! with the names, triggers see to it, so that it holds for what replicas of the version before write. No foreign key: that of the
//! connection does, and one here would hold up who writes accounts until the pieces of all names are there.

pub(crate) const SQLITE: &str = "
CREATE TABLE client_name_pieces (
    agency_id uuid NOT NULL,
    piece text NOT NULL,
    connection_id uuid NOT NULL,
    PRIMARY KEY (agency_id, piece, connection_id)
) WITHOUT ROWID;
CREATE TRIGGER connections_in_pieces AFTER UPDATE OF status, client_name_key ON connections
    WHEN OLD.status <> NEW.status OR OLD.client_name_key IS NOT NEW.client_name_key BEGIN
    DELETE FROM client_name_pieces
        WHERE agency_id = OLD.agency_id AND connection_id = OLD.id AND OLD.status = 'active' AND piece IN (
            WITH RECURSIVE place (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < length(OLD.client_name_key))
            SELECT substr(OLD.client_name_key || '  ', n, 3) FROM place);
    INSERT OR IGNORE INTO client_name_pieces (agency_id, piece, connection_id)
        SELECT NEW.agency_id, piece, NEW.id FROM (
            WITH RECURSIVE place (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < length(NEW.client_name_key))
            SELECT substr(NEW.client_name_key || '  ', n, 3) AS piece FROM place)
        WHERE NEW.status = 'active' AND NEW.client_name_key IS NOT NULL;
END;
WITH RECURSIVE place (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < (SELECT max(length(client_name_key)) FROM connections))
INSERT OR IGNORE INTO client_name_pieces (agency_id, piece, connection_id)
    SELECT c.agency_id, substr(c.client_name_key || '  ', n, 3), c.id
    FROM connections c JOIN place ON n <= length(c.client_name_key) WHERE c.status = 'active';
";

pub(crate) const POSTGRES: &str = "
CREATE TABLE client_name_pieces (
    agency_id uuid NOT NULL,
    piece text COLLATE \"C\" NOT NULL,
    connection_id uuid NOT NULL,
    PRIMARY KEY (agency_id, piece, connection_id)
);
CREATE FUNCTION pieces_of(name text) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT substr(name || '  ', n, 3) FROM generate_series(1, length(name)) n
$$;
CREATE FUNCTION keep_client_in_pieces() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status = NEW.status AND OLD.client_name_key IS NOT DISTINCT FROM NEW.client_name_key THEN
            RETURN NULL;
        END IF;
        IF OLD.status = 'active' THEN
            DELETE FROM client_name_pieces
                WHERE agency_id = OLD.agency_id AND connection_id = OLD.id AND piece = ANY (ARRAY(SELECT pieces_of(OLD.client_name_key)));
        END IF;
    END IF;
    IF NEW.status = 'active' THEN
        INSERT INTO client_name_pieces (agency_id, piece, connection_id)
            SELECT NEW.agency_id, pieces_of(NEW.client_name_key), NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER connections_in_pieces AFTER INSERT OR UPDATE OF status, client_id, client_name_key ON connections
    FOR EACH ROW EXECUTE FUNCTION keep_client_in_pieces();
INSERT INTO client_name_pieces (agency_id, piece, connection_id)
    SELECT agency_id, pieces_of(client_name_key), id FROM connections WHERE status = 'active';
";
