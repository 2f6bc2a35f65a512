//! Addresses in mails that are over, and names of API keys in events: what finds them when they are to go.

pub(crate) const SQL: &str = "
CREATE INDEX mails_over ON mails (at) WHERE to_email <> '' AND status <> 'queued';
CREATE INDEX events_keys_created ON events (actor_id) WHERE kind = 'api_key_created';
CREATE INDEX events_keys ON events (subject_id) WHERE kind IN ('api_key_created', 'api_key_revoked');
CREATE INDEX events_accounts_renamed ON events (subject_id) WHERE kind = 'account_renamed';

-- Of users who were erased before.
UPDATE events SET before = NULL WHERE kind = 'api_key_revoked' AND subject_id IN (
    SELECT c.subject_id FROM events c JOIN users u ON u.id = c.actor_id AND u.erased_at IS NOT NULL WHERE c.kind = 'api_key_created');
UPDATE events SET after = NULL WHERE kind = 'api_key_created'
    AND actor_id IN (SELECT u.id FROM users u WHERE u.erased_at IS NOT NULL);
";
