//! Transfers of ownership that the former Owner can undo, and who last sent an invitation.

pub(crate) const SQL: &str = "
-- A transfer that an Admin asked for. It is open until it is settled, for 72 hours at most.
CREATE TABLE ownership_transfers (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    former_owner_id uuid NOT NULL REFERENCES users (id),
    new_owner_id uuid NOT NULL REFERENCES users (id),
    asked_by uuid NOT NULL REFERENCES users (id),
    at timestamptz NOT NULL,
    settled_at timestamptz
);
CREATE INDEX ownership_transfers_open ON ownership_transfers (account_id, at) WHERE settled_at IS NULL;
CREATE INDEX ownership_transfers_former ON ownership_transfers (former_owner_id, at) WHERE settled_at IS NULL;

-- Whoever sent the latest e-mail of an invitation; null for the inviter.
ALTER TABLE invitations ADD COLUMN sent_by uuid REFERENCES users (id);
";
