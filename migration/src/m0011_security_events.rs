//! Security events (E1a): who tried what, from where, and with which outcome. Apart from the gapless log.
//!
//! No column refers to another table, so that writing a batch never waits for a user or an account that a transaction has locked.

pub(crate) const SQL: &str = "
CREATE TABLE security_events (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    outcome text NOT NULL,
    at timestamptz NOT NULL,
    -- Equal events within a window are one row, with their number and the time of the latest.
    last_at timestamptz NOT NULL,
    count bigint NOT NULL DEFAULT 1,
    user_id uuid,
    actor_id uuid,
    by_operator boolean NOT NULL DEFAULT false,
    account_id uuid,
    via_id uuid,
    api_key_id uuid,
    session_id uuid,
    address text,
    user_agent text,
    code text,
    permission text,
    operation text
);
CREATE INDEX security_events_user ON security_events (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX security_events_actor ON security_events (actor_id) WHERE actor_id IS NOT NULL;
CREATE INDEX security_events_account ON security_events (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX security_events_api_key ON security_events (api_key_id) WHERE kind = 'api_key_used';
CREATE INDEX security_events_last ON security_events (last_at);
";
