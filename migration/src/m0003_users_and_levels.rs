//! Suspended users, accounts that require two-factor, billing, opt-ins, exports; and what an operator did.
//!
//! Every new column has a default, since replicas of the version before go on writing rows without it.

pub(crate) const SQL: &str = "
ALTER TABLE members ADD COLUMN suspended_at timestamptz;
ALTER TABLE accounts ADD COLUMN two_factor_required boolean NOT NULL DEFAULT false;

-- Done by command line, in nobody's name.
ALTER TABLE events ADD COLUMN by_operator boolean NOT NULL DEFAULT false;

CREATE TABLE billing (
    account_id uuid PRIMARY KEY REFERENCES accounts (id),
    company text,
    email text,
    address_lines text,
    country text,
    tax_id text
);

-- Of users of the account and of agencies' alike, so it is no column of a place.
CREATE TABLE email_opt_ins (
    account_id uuid NOT NULL REFERENCES accounts (id),
    user_id uuid NOT NULL REFERENCES users (id),
    at timestamptz NOT NULL,
    PRIMARY KEY (account_id, user_id)
);
CREATE INDEX email_opt_ins_user ON email_opt_ins (user_id);

-- A link to download an account once. Used or too old, its row is gone. Whoever asked for it has to be able to act still, with
-- the session or the API key that they asked with.
CREATE TABLE exports (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    user_id uuid NOT NULL REFERENCES users (id),
    via_id uuid REFERENCES accounts (id),
    session_id uuid,
    api_key_id uuid,
    expires_at timestamptz NOT NULL
);
CREATE INDEX exports_account ON exports (account_id);
CREATE INDEX exports_user ON exports (user_id);
CREATE INDEX exports_expiry ON exports (expires_at);

-- An invitation that was sent to another address takes one more place of the day's.
CREATE TABLE readdressings (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    invitation_id uuid NOT NULL REFERENCES invitations (id),
    created_at timestamptz NOT NULL
);
CREATE INDEX readdressings_day ON readdressings (account_id, created_at);

CREATE INDEX api_keys_via ON api_keys (via_id) WHERE via_id IS NOT NULL;
-- Where somebody who is erased has left traces.
CREATE INDEX invitations_email ON invitations (email_key);
CREATE INDEX invitations_accepted ON invitations (accepted_by) WHERE accepted_by IS NOT NULL;
CREATE INDEX connections_email ON connections (client_email_key);
CREATE INDEX mails_user ON mails (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX events_renamed ON events (actor_id) WHERE kind = 'account_renamed';
";
