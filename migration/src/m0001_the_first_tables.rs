//! Accounts, users, their levels, invitations, connections, the event log and the outbox.
//!
//! What must hold at every moment is a constraint here and not only a line of code: one Owner per account (a partial
//! unique index for at most one, a deferred foreign key from the account for at least one), one pending request per agency
//! and address, one active connection per agency and client, one number per log entry.
//! Indexes begin with the account, since every list does.

pub(crate) const SQL: &str = "
CREATE TABLE logs (
    id uuid PRIMARY KEY,
    head bigint NOT NULL
);

CREATE TABLE users (
    id uuid PRIMARY KEY REFERENCES logs (id),
    name text NOT NULL,
    name_key text NOT NULL,
    username text NOT NULL,
    username_key text NOT NULL UNIQUE,
    email text NOT NULL,
    email_key text NOT NULL UNIQUE,
    email_verified_at timestamptz,
    password_hash text NOT NULL,
    last_account_id uuid,
    created_at timestamptz NOT NULL
);

-- account_id names the account's log, which is made with the account: accounts name members, and two tables can't both come first.
CREATE TABLE members (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES logs (id),
    user_id uuid NOT NULL REFERENCES users (id),
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 5),
    joined_at timestamptz NOT NULL,
    UNIQUE (account_id, user_id),
    UNIQUE (account_id, user_id, level)
);
CREATE UNIQUE INDEX members_one_owner ON members (account_id) WHERE level = 5;
CREATE INDEX members_user ON members (user_id);

CREATE TABLE accounts (
    id uuid PRIMARY KEY REFERENCES logs (id),
    name text NOT NULL,
    name_key text NOT NULL,
    status text NOT NULL,
    plan text NOT NULL,
    owner_id uuid NOT NULL,
    owner_level smallint NOT NULL CHECK (owner_level = 5),
    created_at timestamptz NOT NULL,
    partner_program_joined_at timestamptz,
    client_access_enabled boolean NOT NULL,
    FOREIGN KEY (id, owner_id, owner_level) REFERENCES members (account_id, user_id, level) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    generation bigint NOT NULL,
    rotated_at timestamptz NOT NULL,
    client text NOT NULL,
    user_agent text,
    account_id uuid,
    via_id uuid,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    email text NOT NULL,
    email_key text NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 4),
    message text,
    status text NOT NULL,
    invited_by uuid NOT NULL REFERENCES users (id),
    accepted_by uuid REFERENCES users (id),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decided_at timestamptz
);
CREATE INDEX invitations_account ON invitations (account_id, id);
CREATE INDEX invitations_day ON invitations (account_id, created_at);
CREATE UNIQUE INDEX invitations_one_pending ON invitations (account_id, email_key) WHERE status = 'pending';
CREATE INDEX invitations_address ON invitations (email_key) WHERE status = 'pending';
CREATE INDEX invitations_expiry ON invitations (expires_at) WHERE status = 'pending';

CREATE TABLE connections (
    id uuid PRIMARY KEY,
    agency_id uuid NOT NULL REFERENCES accounts (id),
    client_id uuid REFERENCES accounts (id),
    client_email text NOT NULL,
    client_email_key text NOT NULL,
    message text,
    requested_level smallint CHECK (requested_level BETWEEN 1 AND 4),
    level smallint CHECK (level BETWEEN 1 AND 4),
    status text NOT NULL,
    requested_by uuid NOT NULL REFERENCES users (id),
    decided_by uuid REFERENCES users (id),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decided_at timestamptz,
    ended_at timestamptz,
    CHECK (status <> 'active' OR (client_id IS NOT NULL AND level IS NOT NULL)),
    CHECK (client_id IS NULL OR client_id <> agency_id)
);
CREATE INDEX connections_agency ON connections (agency_id, id);
CREATE INDEX connections_client ON connections (client_id, id);
CREATE INDEX connections_day ON connections (agency_id, created_at);
CREATE UNIQUE INDEX connections_one_pending ON connections (agency_id, client_email_key) WHERE status = 'pending';
CREATE UNIQUE INDEX connections_one_active ON connections (agency_id, client_id) WHERE status = 'active';
CREATE INDEX connections_address ON connections (client_email_key) WHERE status = 'pending';
CREATE INDEX connections_expiry ON connections (expires_at) WHERE status = 'pending';

CREATE TABLE places (
    id uuid PRIMARY KEY,
    connection_id uuid NOT NULL REFERENCES connections (id),
    user_id uuid NOT NULL REFERENCES users (id),
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 4),
    added_by uuid REFERENCES users (id),
    added_at timestamptz NOT NULL,
    UNIQUE (connection_id, user_id)
);
CREATE INDEX places_user ON places (user_id);

CREATE TABLE events (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    actor_id uuid,
    via_id uuid,
    subject_id uuid NOT NULL,
    before text,
    after text
);

CREATE TABLE log_entries (
    log_id uuid NOT NULL REFERENCES logs (id),
    number bigint NOT NULL,
    event_id uuid NOT NULL REFERENCES events (id),
    PRIMARY KEY (log_id, number)
);

CREATE TABLE mails (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    event_id uuid NOT NULL REFERENCES events (id),
    subject_id uuid NOT NULL,
    version bigint NOT NULL,
    to_email text NOT NULL,
    to_email_key text NOT NULL,
    user_id uuid REFERENCES users (id),
    status text NOT NULL,
    attempts integer NOT NULL,
    next_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    detail text
);
CREATE INDEX mails_due ON mails (next_at) WHERE status = 'queued';
CREATE INDEX mails_subject ON mails (subject_id, kind);
CREATE INDEX mails_address ON mails (to_email_key, created_at);
";
