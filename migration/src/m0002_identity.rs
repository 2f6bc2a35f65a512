//! Two-factor, changes of address, resets, and API keys; and erased users.
//!
//! Every new column has a default, since replicas of the version before go on writing rows without it.

pub(crate) const SQL: &str = "
ALTER TABLE users ADD COLUMN email_version bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN pending_email text;
ALTER TABLE users ADD COLUMN pending_email_key text;
ALTER TABLE users ADD COLUMN reset_version bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN two_factor_since timestamptz;
ALTER TABLE users ADD COLUMN two_factor_version bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN two_factor_step bigint NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN erased_at timestamptz;
CREATE INDEX users_unverified ON users (created_at) WHERE email_verified_at IS NULL AND erased_at IS NULL;

-- When the password or a code was last given; none: when the session began.
ALTER TABLE sessions ADD COLUMN authenticated_at timestamptz;
CREATE INDEX sessions_live ON sessions (user_id, last_used_at) WHERE ended_at IS NULL;

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users (id),
    hash text NOT NULL,
    PRIMARY KEY (user_id, hash)
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    user_id uuid NOT NULL REFERENCES users (id),
    via_id uuid REFERENCES accounts (id),
    name text NOT NULL,
    prefix text NOT NULL,
    hash text NOT NULL UNIQUE,
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 5),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_account ON api_keys (account_id, id);
CREATE INDEX api_keys_user ON api_keys (user_id);

-- The API key that was used, where it was no session.
ALTER TABLE events ADD COLUMN api_key_id uuid;
";
