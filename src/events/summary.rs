//! Sentences for people, made when an event is read: the log keeps ids, so a renamed account or an erased person is right
//! in every sentence of the past (E2).

use entity::event::EventKind;

/// The names that a sentence needs, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Who did it; none for the system.
    pub actor: Option<String>,
    /// The agency through which.
    pub via: Option<String>,
    /// The agency of a connection, the account, the invited address or the user that it happened to.
    pub subject: String,
    /// The client of a connection.
    pub client: String,
    /// The value before and after.
    pub change: (String, String),
}

/// What happened, in a sentence.
pub fn summary(kind: EventKind, names: &Names) -> String {
    let Names { actor, via, subject, client, change: (before, after) } = names;
    let actor = actor.as_deref().unwrap_or("Keyholder");
    let actor = via.as_ref().map_or_else(|| actor.to_owned(), |via| format!("{actor} of {via}"));
    match kind {
        EventKind::UserSignedUp => format!("{actor} signed up."),
        EventKind::EmailVerified => format!("{actor} verified their e-mail address."),
        EventKind::SignedIn => format!("{actor} signed in."),
        EventKind::SignedOut => format!("{actor} signed out."),
        EventKind::RefreshTokenReused => {
            "A refresh token that had been replaced was used again, so its session was ended.".to_owned()
        }
        EventKind::SessionRevoked => format!("{actor} ended a session."),
        EventKind::OtherSessionsRevoked => format!("{actor} ended all sessions but one."),
        EventKind::PasswordChanged => format!("{actor} changed their password."),
        EventKind::PasswordResetRequested => format!("A link to a new password was asked for {subject}."),
        EventKind::PasswordReset => format!("{actor} took a new password by the link in a mail."),
        EventKind::SignInLinkRequested => format!("A sign-in link was requested for {subject}."),
        EventKind::TwoFactorCodesFailed => format!("Ten wrong two-factor codes in a row were given for {subject}."),
        EventKind::EmailChangeRequested => format!("{actor} asked to change their e-mail address."),
        EventKind::EmailChanged => format!("{actor} changed their e-mail address."),
        EventKind::EmailChangeStopped => format!("A change of the e-mail address of {subject} was stopped."),
        EventKind::VerificationResent => format!("{actor} asked for another link to verify their e-mail address."),
        EventKind::EmailOptInChanged => format!("{actor} changed whether they want an account's e-mails."),
        EventKind::ProfileChanged => format!("{actor} changed their name or username."),
        EventKind::TwoFactorEnabled => format!("{actor} switched two-factor on."),
        EventKind::TwoFactorDisabled => format!("{actor} switched two-factor off."),
        EventKind::TwoFactorReset => format!("The operator switched two-factor off for {subject}."),
        EventKind::RecoveryCodesRegenerated => format!("{actor} made new recovery codes."),
        EventKind::RecoveryCodeUsed => format!("{actor} used a recovery code."),
        EventKind::UserErased => format!("{subject} was erased."),
        EventKind::UserLeft => format!("{subject} left {before}."),
        EventKind::UserRevoked => format!("{actor} revoked {subject}'s access to {before}."),
        EventKind::UserLevelChanged => format!("{actor} changed {subject}'s level from {before} to {after}."),
        EventKind::UserSuspended => format!("{actor} suspended {subject}."),
        EventKind::UserReinstated => format!("{actor} reinstated {subject}."),
        EventKind::OwnershipTransferred => format!("{actor} transferred ownership from {before} to {after}."),
        EventKind::OwnershipTransferUndone => {
            format!("{actor} undid a transfer of ownership: {after} owns the account again instead of {before}.")
        }
        EventKind::AccountRenamed => format!("{actor} renamed the account from {before} to {after}."),
        EventKind::BillingChanged => format!("{actor} changed what the account is billed by."),
        EventKind::TwoFactorRequirementChanged => {
            format!("{actor} changed whether two-factor is required from \"{before}\" to \"{after}\".")
        }
        EventKind::AccountExported => format!("{actor} asked for a link to download the account."),
        EventKind::InvitationResent => format!("{actor} sent the invitation of {subject} again."),
        EventKind::InvitationDeclined => match &names.actor {
            Some(_) => format!("{actor} declined the invitation of {subject}."),
            None => format!("The invitation of {subject} was declined."),
        },
        EventKind::ClientAccessResent => format!("{actor} asked {client} again for access for {subject}."),
        EventKind::ClientUserAdded => format!("{actor} let {after} act in {client}."),
        EventKind::ClientUserLevelChanged => format!("{actor} changed {before} in {client} to {after}."),
        EventKind::ClientUserRemoved => format!("{before} of {subject} can't act in {client} any more."),
        // The name of a key goes with the user who created it.
        EventKind::ApiKeyCreated if after.is_empty() => format!("{actor} created an API key."),
        EventKind::ApiKeyRevoked if before.is_empty() => format!("{actor} deleted an API key."),
        EventKind::ApiKeyCreated => format!("{actor} made the API key {after}."),
        EventKind::ApiKeyRevoked => format!("{actor} deleted the API key {before}."),
        EventKind::AccountClosed => format!("{actor} closed the account {subject}."),
        EventKind::InvitationCanceled => format!("{actor} took the invitation of {subject} back."),
        EventKind::ClientAccessCanceled => format!("{actor} took {subject}'s request for access to {client} back."),
        EventKind::AccountOpened => format!("{actor} opened the account {subject}."),
        EventKind::PlanChanged => format!("{actor} changed the plan from {before} to {after}."),
        EventKind::UserInvited => format!("{actor} invited {subject}."),
        EventKind::UserJoined => format!("{actor} joined the account."),
        EventKind::InvitationExpired => format!("The invitation of {subject} expired."),
        EventKind::PartnerProgramJoined => format!("{actor} joined the partner program for {subject}."),
        EventKind::ClientAccessEnabled => format!("{actor} enabled client access for {subject}."),
        EventKind::ClientAccessRequested => format!("{actor} asked {client} for access for {subject}."),
        EventKind::ClientAccessApproved => format!("{actor} let {subject} into {client}."),
        EventKind::ClientAccessDeclined => format!("{actor} declined {subject}'s request for access."),
        EventKind::ClientAccessExpired => format!("{subject}'s request for access to {client} expired."),
        EventKind::ClientAccessLevelChanged => {
            format!("{actor} changed {subject}'s highest level in {client} from {before} to {after}.")
        }
        EventKind::ClientAccessUntilChanged => {
            format!("{actor} changed the end of {subject}'s access to {client} from {before} to {after}.")
        }
        EventKind::ClientAccessEnding => format!("{subject}'s access to {client} ends soon."),
        EventKind::ClientAccessEnded if names.actor.is_none() => format!("{subject}'s access to {client} has ended."),
        EventKind::ClientAccessEnded => format!("{actor} ended {subject}'s access to {client}."),
        EventKind::ClientAccessDisabled => format!("{actor} disabled client access for {subject} and left the partner program."),
        EventKind::AgencyBlocked => format!("{actor} blocked {subject}."),
        EventKind::AgencyUnblocked => format!("{actor} lets {subject} ask again."),
    }
}
