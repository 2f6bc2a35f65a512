//! Who the demo's people are and what becomes of them: one agency, forty clients, and everyone's place.
//!
//! These are tables, so that the whole story can be read at a glance; `story` lives through them. A day is told as how many
//! days before the start it lies. Whoever is asked and has no turn after it never answers, so that the request is still
//! pending or has expired by now.

use entity::{
    UserLevel::{self, Admin, Author, Manager, Viewer},
    account::Plan::{self, Essentials, Free, Premium, Standard},
};

/// Everyone's password.
pub const PASSWORD: &str = "harbor lights at dawn";

/// A person with an address.
pub struct Person {
    /// Their name.
    pub name: &'static str,
    /// Their address, which is never one that mail could reach.
    pub address: &'static str,
}

/// An account that somebody opens.
pub struct Account {
    /// What it is called.
    pub name: &'static str,
    /// Its Owner.
    pub owner: Person,
    /// The plan that it takes at once.
    pub plan: Plan,
}

/// A person who is invited to an account.
pub struct Member {
    /// The account.
    pub account: &'static str,
    /// Who.
    pub person: Person,
    /// At which level.
    pub level: UserLevel,
    /// The day of the invitation.
    pub invited: i64,
    /// The day on which they join, if they do.
    pub joined: Option<i64>,
}

/// A client of the agency, or one that it would like to have.
pub struct Client {
    /// Its account.
    pub account: Account,
    /// The day on which the agency asks for access.
    pub asked: i64,
    /// Who of the agency asks, by address.
    pub by: &'static str,
    /// The level that is asked for.
    pub wants: UserLevel,
    /// What happens after it, each with its day.
    pub turns: &'static [(i64, Turn)],
}

/// What can happen to a connection once it was asked for.
#[derive(Clone, Copy)]
pub enum Turn {
    /// The client lets the agency in, up to a level.
    Approve(UserLevel),
    /// The client turns the agency down.
    Decline,
    /// The client sets another ceiling.
    Ceiling(UserLevel),
    /// The client ends the access.
    ClientEnds,
    /// The agency ends the access.
    AgencyEnds,
}

use Turn::{AgencyEnds, Approve, Ceiling, ClientEnds, Decline};

/// The agency.
pub const AGENCY: Account =
    Account { name: "Bright Harbor Marketing", owner: Person { name: "Grace Okafor", address: GRACE }, plan: Premium };
/// The day on which the agency's Owner signs up: the story's first.
pub const FIRST_DAY: i64 = 42;
/// The day on which it becomes an agency.
pub const PROGRAM_DAY: i64 = 39;

const GRACE: &str = "grace@bright-harbor.example";
const DANIEL: &str = "daniel@bright-harbor.example";
const MAYA: &str = "maya@bright-harbor.example";
const TOM: &str = "tom@bright-harbor.example";

/// The client whose account the guide switches to.
pub const VISITED: &str = "Harvest Table Foods";

/// What the agency writes to those whom it asks, by turns.
pub const MESSAGES: [&str; 3] = [
    "As agreed on the phone, we would like to get to work in your account. You can end our access at any time.",
    "To suggest what your newsletter could do better, we need to see how the last ones were read.",
    "Your next campaign is nearly ready on our side. Please let us in, so that we can finish it together.",
];

macro_rules! members {
    ($($account:literal $name:literal $address:expr, $level:ident, invited $invited:literal joined $joined:expr;)*) => {
        /// Everyone who is invited to an account.
        pub const MEMBERS: &[Member] = &[$(Member {
            account: $account, person: Person { name: $name, address: $address }, level: $level, invited: $invited, joined: $joined,
        }),*];
    };
}

members! {
    "Bright Harbor Marketing" "Daniel Reyes"       DANIEL,                               Admin,   invited 41 joined Some(40);
    "Bright Harbor Marketing" "Maya Lindqvist"     MAYA,                                 Manager, invited 41 joined Some(40);
    "Bright Harbor Marketing" "Tom Whitfield"      TOM,                                  Manager, invited 41 joined Some(39);
    "Bright Harbor Marketing" "Priya Raman"        "priya@bright-harbor.example",        Author,  invited 30 joined Some(29);
    "Bright Harbor Marketing" "Leo Fontaine"       "leo@bright-harbor.example",          Viewer,  invited 18 joined Some(16);
    "Harvest Table Foods"     "Nina Petrova"       "nina@harvest-table.example",         Admin,   invited 36 joined Some(35);
    "Harvest Table Foods"     "Kofi Mensah"        "kofi@harvest-table.example",         Manager, invited 36 joined Some(34);
    "Harvest Table Foods"     "Elena Rossi"        "elena@harvest-table.example",        Author,  invited 20 joined Some(19);
    "Harvest Table Foods"     "Jonas Weber"        "jonas@harvest-table.example",        Viewer,  invited 20 joined Some(18);
    "Lakeside Dental"         "Marcus Hill"        "marcus@lakeside-dental.example",     Admin,   invited 33 joined Some(33);
    "Lakeside Dental"         "Amy Tran"           "amy@lakeside-dental.example",        Viewer,  invited 25 joined Some(24);
    "Lakeside Dental"         "Paula Stein"        "paula@lakeside-dental.example",      Author,  invited 3  joined None;
    "Fjord & Fell Bicycles"   "Sindre Haugen"      "sindre@fjord-and-fell.example",      Admin,   invited 31 joined Some(30);
    "Solstice Yoga"           "Mei Lin Chua"       "meilin@solstice-yoga.example",       Author,  invited 22 joined Some(21);
    "Solstice Yoga"           "Dev Kapoor"         "dev@solstice-yoga.example",          Viewer,  invited 22 joined None;
    "Kestrel Outdoor"         "Hazel Byrne"        "hazel@kestrel-outdoor.example",      Manager, invited 27 joined Some(26);
    "Bäckerei Vogt"           "Lukas Vogt"         "lukas@baeckerei-vogt.example",       Admin,   invited 15 joined Some(14);
    "Meridian Travel"         "Aisha Rahman"       "aisha@meridian-travel.example",      Admin,   invited 12 joined Some(11);
    "Meridian Travel"         "Peter Novák"        "peter@meridian-travel.example",      Viewer,  invited 4  joined None;
}

macro_rules! clients {
    ($($plan:ident $name:literal $owner:literal $address:literal $asked:literal by $by:ident for $wants:ident, $([$day:literal $turn:expr])*;)*) => {
        /// The agency's clients.
        pub const CLIENTS: &[Client] = &[$(Client {
            account: Account { name: $name, owner: Person { name: $owner, address: $address }, plan: $plan },
            asked: $asked, by: $by, wants: $wants, turns: &[$(($day, $turn)),*],
        }),*];
    };
}

clients! {
    Standard   "Lakeside Dental"        "Rosa Delgado"      "rosa@lakeside-dental.example"    37 by MAYA   for Admin,   [36 Approve(Admin)];
    Premium    "Harvest Table Foods"    "Samuel Adeyemi"    "samuel@harvest-table.example"    37 by MAYA   for Admin,   [35 Approve(Admin)];
    Essentials "Fjord & Fell Bicycles"  "Ingrid Bjørnstad"  "ingrid@fjord-and-fell.example"   36 by TOM    for Manager, [34 Approve(Manager)];
    Free       "Pine Street Books"      "Walter Nguyen"     "walter@pine-street.example"      36 by TOM    for Author,  [33 Decline];
    Free       "The Copper Kettle"      "Moira Campbell"    "moira@copper-kettle.example"     35 by MAYA   for Manager, [34 Approve(Author)];
    Essentials "Alvarez Roofing"        "Hector Alvarez"    "hector@alvarez-roofing.example"  35 by GRACE  for Admin,   [31 Approve(Manager)] [9 ClientEnds];
    Standard   "Solstice Yoga"          "Farah Haddad"      "farah@solstice-yoga.example"     34 by MAYA   for Author,  [33 Approve(Author)] [14 Ceiling(Manager)];
    Free       "Tiny Oaks Nursery"      "Becky Sloan"       "becky@tiny-oaks.example"         33 by TOM    for Viewer,  [32 Approve(Viewer)];
    Premium    "Kestrel Outdoor"        "Callum Fraser"     "callum@kestrel-outdoor.example"  32 by DANIEL for Admin,   [31 Approve(Admin)] [12 Ceiling(Manager)];
    Free       "Salt & Ash Pottery"     "June Takahashi"    "june@salt-and-ash.example"       32 by TOM    for Author,  ;
    Essentials "Riverbend Brewing"      "Nate Kowalski"     "nate@riverbend-brewing.example"  31 by MAYA   for Manager, [27 Approve(Manager)];
    Standard   "Corner Pharmacy"        "Olga Ivanova"      "olga@corner-pharmacy.example"    30 by DANIEL for Manager, [28 Approve(Viewer)];
    Free       "Marigold Florists"      "Lucy Hargreaves"   "lucy@marigold.example"           30 by MAYA   for Author,  [29 Approve(Author)];
    Essentials "Quill & Co Stationery"  "Edmund Price"      "edmund@quill-and-co.example"     29 by TOM    for Admin,   [26 Approve(Admin)] [11 AgencyEnds];
    Free       "Sunrise Surf School"    "Keoni Kahale"      "keoni@sunrise-surf.example"      28 by MAYA   for Manager, [27 Approve(Manager)];
    Premium    "Atlas Freight"          "Yusuf Demir"       "yusuf@atlas-freight.example"     27 by GRACE  for Admin,   [24 Approve(Manager)] [10 Ceiling(Admin)];
    Free       "Paws & Claws Grooming"  "Tina Marsh"        "tina@paws-and-claws.example"     26 by TOM    for Viewer,  [25 Decline];
    Standard   "Silverline Cinemas"     "André Beaumont"    "andre@silverline.example"        25 by DANIEL for Manager, [23 Approve(Manager)];
    Free       "Honeycomb Crafts"       "Wendy Osei"        "wendy@honeycomb-crafts.example"  24 by MAYA   for Author,  [22 Approve(Viewer)];
    Essentials "Granite Fitness"        "Bruno Carvalho"    "bruno@granite-fitness.example"   23 by TOM    for Manager, ;
    Free       "Old Mill Cider"         "Harriet Cole"      "harriet@old-mill.example"        22 by MAYA   for Manager, [21 Approve(Manager)] [5 ClientEnds];
    Standard   "Juniper Interiors"      "Sofia Lindgren"    "sofia@juniper.example"           21 by DANIEL for Author,  [20 Approve(Author)];
    Premium    "Copperfield Hotels"     "Miles Ashworth"    "miles@copperfield.example"       20 by GRACE  for Admin,   [18 Approve(Manager)];
    Free       "Lantern Street Theatre" "Ruth Abrams"       "ruth@lantern-street.example"     19 by TOM    for Author,  [18 Approve(Author)];
    Essentials "Bäckerei Vogt"          "Hanna Vogt"        "hanna@baeckerei-vogt.example"    18 by MAYA   for Admin,   [17 Approve(Admin)];
    Free       "Velvet Vinyl Records"   "Jamal Carter"      "jamal@velvet-vinyl.example"      17 by TOM    for Manager, [15 Approve(Viewer)] [6 Ceiling(Author)];
    Standard   "Evergreen Landscapes"   "Patrick O'Neill"   "patrick@evergreen.example"       17 by MAYA   for Manager, [14 Decline];
    Premium    "Meridian Travel"        "Leila Farouk"      "leila@meridian-travel.example"   16 by DANIEL for Admin,   [15 Approve(Admin)];
    Essentials "Cedar Lane Optics"      "Naomi Schwartz"    "naomi@cedar-lane.example"        15 by MAYA   for Viewer,  [13 Approve(Viewer)];
    Free       "Wild Thyme Catering"    "Giulia Conti"      "giulia@wild-thyme.example"       14 by TOM    for Manager, [12 Approve(Manager)];
    Standard   "Redwood Legal"          "Charles Whitmore"  "charles@redwood-legal.example"   13 by GRACE  for Manager, ;
    Free       "Puddle Jump Toys"       "Anneke de Vries"   "anneke@puddle-jump.example"      12 by MAYA   for Author,  [11 Approve(Author)];
    Essentials "Summit Ski Rentals"     "Reto Zingg"        "reto@summit-ski.example"         11 by TOM    for Manager, [10 Approve(Manager)] [4 AgencyEnds];
    Free       "Blue Door Gallery"      "Camille Laurent"   "camille@blue-door.example"       10 by MAYA   for Manager, [8 Approve(Viewer)];
    Standard   "Orchard Pediatrics"     "Grace Kim"         "grace@orchard-pediatrics.example"  9 by DANIEL for Author,  [7 Approve(Author)];
    Free       "Rolling Pin Academy"    "Denise Okoro"      "denise@rolling-pin.example"    9 by TOM    for Viewer,  ;
    Essentials "Driftwood Furniture"    "Stellan Berg"      "stellan@driftwood.example"     8 by MAYA   for Admin,   [3 Decline];
    Free       "Moonrise Candles"       "Ivy Thornton"      "ivy@moonrise-candles.example"    4 by TOM    for Author,  ;
    Essentials "Granville Auto Repair"  "Omar Siddiqui"     "omar@granville-auto.example"     2 by MAYA   for Manager, ;
    Premium    "Nova Robotics"          "Hye-jin Park"      "hyejin@nova-robotics.example"    1 by DANIEL for Admin,   ;
}

impl Client {
    /// Where it stands at the end: the words of the guide.
    pub fn outcome(&self) -> &'static str {
        match self.turns.last() {
            Some((_, Approve(_) | Ceiling(_))) => "active",
            Some((_, Decline)) => "declined",
            Some((_, ClientEnds | AgencyEnds)) => "ended",
            None if self.asked > 7 => "expired",
            None => "pending",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_tables_make_one_story() {
        let addresses =
            CLIENTS.iter().map(|client| client.account.owner.address).chain(MEMBERS.iter().map(|member| member.person.address));
        assert_eq!(addresses.collect::<HashSet<_>>().len(), CLIENTS.len() + MEMBERS.len(), "each address is one person's");
        for client in CLIENTS {
            let days: Vec<i64> = [client.asked].into_iter().chain(client.turns.iter().map(|(day, _)| *day)).collect();
            assert!(
                days[0] < PROGRAM_DAY && days.windows(2).all(|pair| pair[0] > pair[1] && pair[1] > 0),
                "{}",
                client.account.name
            );
            assert!(days.get(1).is_none_or(|answered| client.asked - answered < 7), "{} answers in time", client.account.name);
        }
        let known = |name| name == AGENCY.name || CLIENTS.iter().any(|client| client.account.name == name);
        assert!(MEMBERS.iter().all(|member| known(member.account)) && known(VISITED));
    }

    #[test]
    fn there_is_some_of_everything() {
        let count = |outcome| CLIENTS.iter().filter(|client| client.outcome() == outcome).count();
        let counts = ["active", "pending", "declined", "expired", "ended"].map(count);
        assert_eq!((counts.iter().sum::<usize>(), counts[1]), (40, 3));
        assert!(counts.iter().all(|count| *count > 2));
    }
}
