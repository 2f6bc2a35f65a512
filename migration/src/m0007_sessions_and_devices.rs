//! What a session's refresh tokens and claims need, known devices, sign-in links, and wrong codes in a row.
//!
//! Every new column has a default, since replicas of the version before go on writing rows without it.

pub(crate) const SQL: &str = "
-- The latest generation that was followed by more than a minute without a rotation.
ALTER TABLE sessions ADD COLUMN settled_generation bigint NOT NULL DEFAULT 0;
-- How the user last proved who they are: authentication methods of RFC 8176, with spaces between them.
ALTER TABLE sessions ADD COLUMN methods text NOT NULL DEFAULT 'pwd';
-- The device that signed in. Its row may be gone.
ALTER TABLE sessions ADD COLUMN device_id uuid;
CREATE INDEX sessions_unused ON sessions (last_used_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_old ON sessions (created_at) WHERE ended_at IS NULL;

CREATE TABLE devices (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    hash text NOT NULL UNIQUE,
    user_agent text,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL
);
CREATE INDEX devices_user ON devices (user_id, last_used_at);

-- Which sign-in links work: each use of one raises it.
ALTER TABLE users ADD COLUMN sign_in_version bigint NOT NULL DEFAULT 0;
-- Wrong two-factor codes since the last right one.
ALTER TABLE users ADD COLUMN wrong_codes bigint NOT NULL DEFAULT 0;
";
