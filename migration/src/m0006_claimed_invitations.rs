//! The Admin invitation that a new user signed up with. The user joins when they verify their address.

pub(crate) const SQL: &str = "
ALTER TABLE users ADD COLUMN claimed_invitation_id uuid REFERENCES invitations (id);
";
