//! What the limits on e-mail and on new accounts count by: mailbox, sender, and who opened an account.
//!
//! Rows from before count for nobody. The limits look back one day, so this matters for one day.

pub(crate) const SQL: &str = "
-- Keyed hashes, so that the limits still hold after an address was erased.
ALTER TABLE mails ADD COLUMN mailbox text NOT NULL DEFAULT '';
ALTER TABLE mails ADD COLUMN sender text;
CREATE INDEX mails_mailbox ON mails (mailbox, created_at);
CREATE INDEX mails_sender ON mails (sender, created_at) WHERE sender IS NOT NULL;

ALTER TABLE accounts ADD COLUMN opened_by uuid;
CREATE INDEX accounts_opened ON accounts (opened_by, created_at) WHERE opened_by IS NOT NULL;

CREATE INDEX connections_requester_day ON connections (requested_by, created_at);
";
