//! Connections that end by themselves, agencies that a client blocks, and lists of clients by name that stay fast.
//!
//! A connection and its places keep the client's name for the order of such lists. Triggers see to it, so that replicas of the
//! version before, which know nothing of it, leave no row without.

pub(crate) const SQL: &str = "
ALTER TABLE connections ADD COLUMN ends_at timestamptz;
ALTER TABLE connections ADD COLUMN remind_at timestamptz;
ALTER TABLE connections ADD COLUMN silenced boolean NOT NULL DEFAULT false;
CREATE INDEX connections_end ON connections (ends_at) WHERE status = 'active' AND ends_at IS NOT NULL;
CREATE INDEX connections_reminder ON connections (remind_at) WHERE status = 'active' AND remind_at IS NOT NULL;

-- What an agency asks of these addresses is not delivered: of this one, and of those of the account's Owner and Admins. An
-- address is forgotten with its user; the block of the account stays.
CREATE TABLE blocks (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    agency_id uuid NOT NULL REFERENCES accounts (id),
    email_key text,
    blocked_by uuid NOT NULL REFERENCES users (id),
    blocked_at timestamptz NOT NULL,
    UNIQUE (account_id, agency_id, email_key)
);
CREATE INDEX blocks_agency ON blocks (agency_id);
CREATE INDEX blocks_email ON blocks (email_key) WHERE email_key IS NOT NULL;

-- What somebody who is erased has written.
CREATE INDEX invitations_inviter ON invitations (invited_by);
CREATE INDEX connections_requester ON connections (requested_by);

ALTER TABLE connections ADD COLUMN client_name_key text;
ALTER TABLE places ADD COLUMN client_name_key text;
CREATE INDEX connections_clients ON connections (agency_id, client_name_key, id) WHERE status = 'active';
CREATE INDEX places_clients ON places (user_id, client_name_key, connection_id);
";

/// For the rows that are there, once the triggers see to those that come.
pub(crate) const NAMES: &str = "
UPDATE connections SET client_name_key = (SELECT a.name_key FROM accounts a WHERE a.id = connections.client_id)
    WHERE client_id IS NOT NULL;
UPDATE places SET client_name_key = (SELECT c.client_name_key FROM connections c WHERE c.id = places.connection_id);
";

pub(crate) const SQLITE: &str = "
CREATE TRIGGER connections_client_named AFTER UPDATE OF client_id ON connections BEGIN
    UPDATE connections SET client_name_key = (SELECT a.name_key FROM accounts a WHERE a.id = NEW.client_id) WHERE id = NEW.id;
END;
CREATE TRIGGER connections_inserted AFTER INSERT ON connections WHEN NEW.client_id IS NOT NULL BEGIN
    UPDATE connections SET client_name_key = (SELECT a.name_key FROM accounts a WHERE a.id = NEW.client_id) WHERE id = NEW.id;
END;
CREATE TRIGGER places_inserted AFTER INSERT ON places BEGIN
    UPDATE places SET client_name_key = (SELECT c.client_name_key FROM connections c WHERE c.id = NEW.connection_id)
        WHERE id = NEW.id;
END;
CREATE TRIGGER accounts_renamed AFTER UPDATE OF name_key ON accounts BEGIN
    UPDATE connections SET client_name_key = NEW.name_key WHERE client_id = NEW.id;
    UPDATE places SET client_name_key = NEW.name_key
        WHERE connection_id IN (SELECT c.id FROM connections c WHERE c.client_id = NEW.id);
END;
";

pub(crate) const POSTGRES: &str = "
CREATE FUNCTION name_client_of_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.client_name_key := (SELECT a.name_key FROM accounts a WHERE a.id = NEW.client_id);
    RETURN NEW;
END $$;
CREATE TRIGGER connections_client_named BEFORE INSERT OR UPDATE OF client_id ON connections
    FOR EACH ROW EXECUTE FUNCTION name_client_of_connection();

CREATE FUNCTION name_client_of_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.client_name_key := (SELECT c.client_name_key FROM connections c WHERE c.id = NEW.connection_id);
    RETURN NEW;
END $$;
CREATE TRIGGER places_inserted BEFORE INSERT ON places FOR EACH ROW EXECUTE FUNCTION name_client_of_place();

CREATE FUNCTION rename_client() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE connections SET client_name_key = NEW.name_key WHERE client_id = NEW.id;
    UPDATE places SET client_name_key = NEW.name_key
        WHERE connection_id IN (SELECT c.id FROM connections c WHERE c.client_id = NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_renamed AFTER UPDATE OF name_key ON accounts FOR EACH ROW EXECUTE FUNCTION rename_client();
";
