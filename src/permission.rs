//! The role matrix: what each level may do in an account, and the one place where it stands (L1).
//!
//! It is monotone, so a permission is its lowest level, and whether it is for direct users only (L6). The guards of fields,
//! `@requiresPermission` in the SDL, `Viewer.permissions`, `can`, `explain` and `roleMatrix` all derive from the table below.

use async_graphql::{
    ContextDirective, CustomDirective, CustomDirectiveFactory, Enum, InputType, ServerError, ServerResult,
    parser::types::Directive,
    registry::{MetaField, MetaType, Registry},
};
use entity::UserLevel;
use std::borrow::Cow;

/// The part of the product that a permission is about.
#[derive(Clone, Copy, Debug, Enum, Eq, PartialEq)]
pub enum PermissionArea {
    /// The account itself: its people, billing and keys.
    Account,
    /// Audiences and contacts.
    Audience,
    /// E-mails and templates.
    Email,
    /// Text messages.
    Sms,
    /// Reports and statistics.
    Reports,
    /// Websites.
    Websites,
    /// Landing pages.
    LandingPages,
    /// Postcards.
    Postcards,
    /// Domains.
    Domains,
    /// Customer journeys.
    CustomerJourneys,
    /// The inbox.
    Inbox,
    /// Surveys.
    Surveys,
    /// Forms.
    Forms,
    /// Who may act in the account, and the agencies and clients.
    Access,
}

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What may be done.
    pub permission: Permission,
    /// The part of the product.
    pub area: PermissionArea,
    /// In words.
    pub action: &'static str,
    /// The lowest level that may.
    pub lowest: UserLevel,
    /// Never allowed through a connection, whatever the level (L6).
    pub direct_users_only: bool,
    /// What else there is to know.
    pub note: Option<&'static str>,
}

macro_rules! matrix {
    ($($permission:ident $area:ident $action:literal $lowest:ident $who:ident $note:literal;)*) => {
        /// Something that a level may do in an account.
        #[derive(Clone, Copy, Debug, Enum, Eq, Hash, PartialEq)]
        pub enum Permission {
            $(#[doc = $action] $permission,)*
        }

        /// The whole matrix, in the order of the enum.
        pub static MATRIX: &[Row] = &[
            $(Row {
                permission: Permission::$permission,
                area: PermissionArea::$area,
                action: $action,
                lowest: UserLevel::$lowest,
                direct_users_only: matrix!(@$who),
                note: if $note.is_empty() { None } else { Some($note) },
            },)*
        ];
    };
    (@direct) => { true };
    (@any) => { false };
}

// permission, area, action, the lowest level, who: any user, or direct users only; note
#[rustfmt::skip]
matrix! {
    InviteUsers                    Account          "Invite users"                                              Admin   direct "";
    RevokeAccountAccess            Account          "Revoke account access"                                     Admin   direct "";
    SetUserAccessLevel             Account          "Set user access level"                                     Admin   direct "";
    RequireTwoFactorAuthentication Account          "Require 2-factor authentication"                           Admin   any    "";
    ChangeBillingInformation       Account          "Change billing information"                                Admin   any    "";
    ChangeOrganizationName         Account          "Change company/organization name"                          Manager any    "";
    AddOrAccessApiKeys             Account          "Add or access API keys"                                    Manager any    "";
    ReconnectIntegrations          Account          "Check/reconnect integrations"                              Manager any    "";
    UseReferralProgram             Account          "Referral program"                                          Manager any    "";
    ExportAccount                  Account          "Account export"                                            Admin   any    "";
    CloseAccount                   Account          "Close account"                                             Admin   direct "";
    AddFilesToContentStudio        Account          "Add files to content studio"                               Author  any    "";
    OptInToEmails                  Account          "Opt in to receive emails"                                  Viewer  any    "";
    CreateAudiences                Audience         "Create audiences"                                          Manager any    "";
    ViewAudiences                  Audience         "View audiences"                                            Manager any    "";
    ExportAudiences                Audience         "Audience export"                                           Admin   any    "";
    ImportAudiences                Audience         "Audience import"                                           Manager any    "";
    AddContacts                    Audience         "Add contacts"                                              Manager any    "";
    DeleteContacts                 Audience         "Delete contacts"                                           Manager any    "";
    ViewSegments                   Audience         "View segments"                                             Author  any    "";
    EditAudienceSettings           Audience         "Edit audience settings"                                    Manager any    "";
    ArchiveContacts                Audience         "Archive contacts"                                          Manager any    "";
    CreateOrImportTemplates        Email            "Create or import templates"                                Author  any    "";
    EditTemplates                  Email            "Edit templates"                                            Author  any    "";
    CreateEmails                   Email            "Create emails"                                             Author  any    "";
    EditEmails                     Email            "Edit emails"                                               Author  any    "";
    SendOrPublishEmails            Email            "Send/publish emails"                                       Manager any    "";
    PauseOrUnpublishEmails         Email            "Pause/unpublish emails"                                    Author  any    "";
    DeleteEmails                   Email            "Delete emails"                                             Author  any    "";
    SubmitSmsApplication           Sms              "Submit an SMS Marketing application"                       Manager any    "";
    SendSmsMessages                Sms              "Create/send SMS and MMS messages"                          Manager any    "MMS needs the Standard plan or higher";
    PurchaseSmsCredits             Sms              "Purchase SMS credits"                                      Manager any    "";
    ViewEmailReports               Reports          "View email reports"                                        Viewer  any    "";
    ViewSmsReports                 Reports          "View SMS reports"                                          Viewer  any    "";
    ViewAbuseReports               Reports          "View abuse reports"                                        Manager any    "";
    ViewEmailStatistics            Reports          "View email statistics"                                     Viewer  any    "";
    UseConversations               Reports          "Use conversations"                                         Manager any    "";
    ViewEmailRecipients            Reports          "View email recipients"                                     Manager any    "";
    ViewTopLocations               Reports          "Top locations"                                             Viewer  any    "";
    ViewEmailContactDetails        Reports          "Email contact details"                                     Manager any    "";
    ViewEmailOpenDetails           Reports          "Email open details"                                        Manager any    "";
    ViewEcommerceProductActivity   Reports          "E-commerce product activity"                               Manager any    "";
    ViewDomainPerformance          Reports          "Domain performance"                                        Manager any    "";
    CreateWebsite                  Websites         "Create your website"                                       Manager any    "";
    PublishWebsite                 Websites         "Publish/unpublish your website"                            Manager any    "";
    ViewWebsiteReport              Websites         "View report"                                               Viewer  any    "";
    CreateLandingPage              LandingPages     "Create a landing page"                                     Author  any    "";
    PublishLandingPage             LandingPages     "Publish/unpublish a landing page"                          Manager any    "";
    ReplicateLandingPage           LandingPages     "Replicate a landing page"                                  Author  any    "";
    ViewPostcardReport             Postcards        "View report"                                               Author  any    "";
    VerifyDomain                   Domains          "Verify a domain"                                           Manager any    "";
    ConnectDomain                  Domains          "Connect a domain"                                          Manager any    "";
    CreateCustomerJourney          CustomerJourneys "Create Customer Journey"                                   Author  any    "";
    ViewCustomerJourney            CustomerJourneys "View Customer Journey"                                     Author  any    "";
    EditCustomerJourney            CustomerJourneys "Edit Customer Journey"                                     Author  any    "";
    ActivateCustomerJourney        CustomerJourneys "Turn on/pause/turn back on"                                Manager any    "";
    ViewInboxMessages              Inbox            "View messages"                                             Manager any    "";
    LeaveInboxComments             Inbox            "Leave comments"                                            Manager any    "";
    SendInboxMessages              Inbox            "Send messages"                                             Manager any    "";
    ToggleInboxNotifications       Inbox            "Toggle user notifications"                                 Admin   any    "";
    CreateSurvey                   Surveys          "Create survey"                                             Author  any    "";
    EditSurvey                     Surveys          "Edit survey"                                               Author  any    "";
    PublishSurvey                  Surveys          "Publish survey"                                            Author  any    "";
    DeleteSurvey                   Surveys          "Delete survey"                                             Author  any    "";
    CreateForm                     Forms            "Create form"                                               Manager any    "";
    EditForm                       Forms            "Edit form"                                                 Manager any    "hosted and contact forms cannot be renamed";
    PublishForm                    Forms            "Publish form"                                              Manager any    "";
    DeleteForm                     Forms            "Delete form"                                               Manager any    "hosted and contact forms cannot be deleted";
    ViewUsers                      Access           "See the users list"                                        Viewer  any    "";
    TransferOwnership              Access           "Transfer ownership"                                        Admin   direct "";
    ViewAuditLog                   Access           "View the audit log"                                        Admin   any    "";
    JoinPartnerProgram             Access           "Join the partner program, enable or disable client access" Admin   direct "";
    RequestClientAccess            Access           "Request, resend or cancel access to clients' accounts"     Manager direct "";
    DecideClientAccess             Access           "Approve, decline, change or end an agency's access"        Admin   direct "";
}

impl Permission {
    /// Its row of the matrix.
    pub fn row(self) -> &'static Row {
        &MATRIX[self as usize]
    }

    /// Its name as the SDL has it, such as `INVITE_USERS`.
    pub fn name(self) -> String {
        match self.to_value() {
            async_graphql::Value::Enum(name) => name.to_string(),
            other => other.to_string(),
        }
    }
}

/// Whether a level may, acting directly or through a connection (L1, L6).
pub fn allows(level: UserLevel, through_connection: bool, permission: Permission) -> bool {
    let row = permission.row();
    level >= row.lowest && !(through_connection && row.direct_users_only)
}

pub use directive::requires_permission;

/// The directive; its macro makes an undocumented type of the function's name.
#[expect(missing_docs, reason = "what the macro makes can't be given any")]
mod directive {
    use super::Permission;
    use async_graphql::TypeDirective;

    /// The permission that a field or mutation asks of the viewer's level in the account that the request acts in.
    #[TypeDirective(name = "requiresPermission", location = "FieldDefinition")]
    pub fn requires_permission(permission: Permission) {}
}

/// The permission that the SDL shows on a field, as its name there.
pub fn shown(field: &MetaField) -> Option<String> {
    let directive = field.directive_invocations.iter().find(|directive| directive.name == "requiresPermission")?;
    Some(directive.args.get("permission")?.to_string())
}

/// What an argument of this name says, wherever it stands and says nothing of its own.
fn usual_argument(name: &str) -> Option<&'static str> {
    Some(match name {
        "after" => "Begin behind this cursor, which the same list gave.",
        "area" => "Only of this part of the product.",
        "before" => "End before this cursor, which the same list gave.",
        "first" => "How many from the start: 20 unless said, 100 at most.",
        "id" => "Its id.",
        "ids" => "Their ids, 100 at most.",
        "input" => "What is to be done.",
        "kinds" => "Only of these kinds.",
        "last" => "How many from the end, instead of `first`.",
        "level" => "Only at these levels.",
        "permission" => "The permission in question.",
        "search" => "Only what has this text in its name.",
        "status" => "Only with one of these.",
        "token" => "The token of the link.",
        _ => return None,
    })
}

/// Given to `SchemaBuilder::directive`, writes each field's permission into its description, where introspection (and so
/// GraphiQL) can see it, and a line for each payload. It is no directive: `register` is the one place where async-graphql
/// lends out the whole registry.
pub struct Describe;

impl CustomDirectiveFactory for Describe {
    fn name(&self) -> Cow<'static, str> {
        "describe".into()
    }

    fn register(&self, registry: &mut Registry) {
        for ty in registry.types.values_mut() {
            let MetaType::Object { name, fields, description, .. } = ty else { continue };
            if let Some(operation) = name.strip_suffix("Payload").filter(|_| description.is_none()) {
                let (first, rest) = operation.split_at(1);
                *description = Some(format!("What `{}{rest}` did, and what the person can mend.", first.to_lowercase()));
            }
            for field in fields.values_mut() {
                for argument in field.args.values_mut().filter(|argument| argument.description.is_none()) {
                    argument.description = usual_argument(&argument.name).map(str::to_owned);
                }
                let Some(permission) = shown(field) else { continue };
                let text = field.description.get_or_insert_default();
                let told = format!("{text}\n\nRequires the permission {permission}.");
                told.trim_start().clone_into(text);
            }
        }
    }

    fn create(&self, _: &ContextDirective<'_>, _: &Directive) -> ServerResult<Box<dyn CustomDirective>> {
        Err(ServerError::new("Unknown directive \"describe\".", None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        assert_eq!(MATRIX.len(), 74);
        for (place, row) in MATRIX.iter().enumerate() {
            assert_eq!(row.permission as usize, place);
            assert_eq!(row.permission.row().action, row.action);
        }
    }

    /// L6: what governs people, ownership, agencies or the account's life is for direct users alone.
    #[test]
    fn nothing_of_direct_users_goes_through_a_connection() {
        for row in MATRIX {
            for level in UserLevel::ALL {
                assert_eq!(allows(level, false, row.permission), level >= row.lowest);
                assert_eq!(allows(level, true, row.permission), level >= row.lowest && !row.direct_users_only);
            }
        }
    }
}
