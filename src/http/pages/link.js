// What the pages that mails link to do. Opening one asks what the link is about and changes nothing; only a button does.
// The link's token, a password and an access token go into the bodies and headers of requests to this server, and nowhere else.

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const part = (id) => document.getElementById(id);
const show = (id, isShown = true) => part(id).toggleAttribute("hidden", !isShown);
const levels = { OWNER: "Owner", ADMIN: "Admin", MANAGER: "Manager", AUTHOR: "Author", VIEWER: "Viewer" };
let [accessToken, busy] = [null, false];

/** What the person should read: a refusal, or what they can mend, with the name of the input at fault. */
const problem = (message, code, field) => Object.assign(new Error(message), { code, field, isTold: true });

async function ask(query, variables, options) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  if (accessToken) headers.Authorization = `Bearer ${accessToken}`;
  const body = JSON.stringify({ query, variables });
  const response = await fetch("/graphql", { method: "POST", headers, body, credentials: "omit", ...options }).catch(() => null);
  const answer = await response?.json().catch(() => null);
  if (!answer) throw problem("The server did not answer. Try again in a moment.");
  const [error] = answer.errors ?? [];
  if (error) throw problem(error.message, error.extensions?.code);
  return answer.data;
}

/** Runs one mutation; the type of its input is named after it unless said otherwise. */
async function change(name, fields, input, type = `${name[0].toUpperCase()}${name.slice(1)}Input`) {
  const query = `mutation($input: ${type}!) { ${name}(input: $input) { ${fields} userErrors { code message field } } }`;
  const payload = (await ask(query, { input }))[name];
  const [first] = payload.userErrors;
  if (first) throw problem(payload.userErrors.map((error) => error.message).join("\n"), first.code, first.field?.[0]);
  return payload;
}

function say(text, isProblem = false) {
  part("status").textContent = text;
  part("status").classList.toggle("problem", isProblem);
}

/** What the link is about, by a public query, while it still leads somewhere. */
async function preview(name, fields) {
  const found = (await ask(`query($token: String!) { ${name}(token: $token) { ${fields} message expiresAt } }`, { token }))[name];
  if (!found) throw problem("This link leads nowhere now: it was answered or canceled, has expired, or has a newer one.");
  return found;
}

function about(facts, { message, expiresAt }) {
  const until = new Date(expiresAt).toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" });
  Object.assign(facts, { Message: message, "Can be answered until": until });
  for (const [name, value] of Object.entries(facts)) {
    if (!value) continue;
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, detail.textContent, detail.dir] = [name, value, "auto"];
    part("about").append(term, detail);
  }
  show("about");
}

/** Lets a form do its work, one at a time, and tells what became of it. */
function onSubmit(id, work) {
  part(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    const form = event.target;
    busy = true;
    say("One moment…");
    for (const field of form.elements) field.removeAttribute("aria-invalid");
    await work(Object.fromEntries(new FormData(form)), event.submitter?.value).catch((error) => tell(error, form));
    busy = false;
  });
}

function tell(error, form) {
  say(error.isTold ? error.message : "Something went wrong on this page. Load it again.", true);
  if (error.code === "UNAUTHENTICATED" && part("sign-in")) show("sign-in");
  if (error.code === "TWO_FACTOR_CODE_REQUIRED") form.querySelector(".two-factor").hidden = false;
  const field = error.field && form?.elements.namedItem(error.field);
  field?.setAttribute("aria-invalid", "true");
  (field || part("status")).focus();
}

/** Ends the page's work: forms (but one, if its id is given) and the used token go, what happened stays. */
function finish(text, staysId) {
  for (const form of [...document.forms]) form.id === staysId || form.remove();
  history.replaceState(null, "", location.pathname);
  say(text);
  part("status").focus();
}

async function signIn({ login, password, code }) {
  await signOut();
  const input = { login, password, code: code || null, client: "WEB" };
  accessToken = (await change("signIn", "credentials { accessToken }", input)).credentials.accessToken;
}

/** Leaves no session behind. That it may have ended already is no matter. */
async function signOut() {
  if (!accessToken) return;
  const signedOut = ask("mutation { signOut { signedOut } }", undefined, { keepalive: true });
  accessToken = null;
  await signedOut.catch(() => {});
}

/** What `verifyEmail` changed, in words. */
function verified({ user, joinedAccount, joinError }) {
  const done = user?.email ? `The address ${user.email} is verified.` : "The address is verified.";
  if (joinError) return `${done} You did not join the account that invited you: ${joinError.message}`;
  return joinedAccount ? `${done} You have joined ${joinedAccount.name} as Admin. Sign in to act there.` : done;
}

/** Offers a new password to a person whose login somebody else may know. The link goes to the login's own address. */
function offerReset(text) {
  onSubmit("forgotten", async () => {
    await ask("mutation($token: String!) { requestPasswordReset(input: { token: $token }) { accepted } }", { token });
    finish(text);
  });
}

async function verifyEmail() {
  onSubmit("verify", async ({ password }) => {
    const fields = "user { email } joinedAccount { name } joinError { message }";
    finish(verified(await change("verifyEmail", fields, { token, password })));
  });
  offerReset("If nobody has verified the address yet, a link to choose a password is on its way to it. It works for an hour.");
  show("verify");
  show("forgotten");
}

async function stopChange() {
  onSubmit("stop", async () => {
    await change("stopEmailChange", "stopped", { token });
    finish("The change is stopped. The address of your login stays the same.", "forgotten");
    show("forgotten");
  });
  offerReset("A link to choose a new password is on its way to your address. It works for an hour.");
  show("stop");
}

async function resetPassword() {
  onSubmit("reset", async ({ password, deleteApiKeys }) => {
    await change("resetPassword", "user { id }", { token, password, deleteApiKeys: Boolean(deleteApiKeys) });
    finish("You have a new password. Sign in with it.");
  });
  show("reset");
}

/** Hands the session over to GraphiQL, the one page here that goes on with it: in this tab alone, as GraphiQL keeps it. */
async function signInWithLink() {
  onSubmit("enter", async ({ code }) => {
    const input = { token, code: code || null, client: "WEB" };
    const { credentials } = await change("signInWithLink", "credentials { accessToken refreshToken }", input);
    sessionStorage.setItem("keyholder:session", JSON.stringify({ ...credentials, renewAt: Date.now() }));
    finish("You are signed in in this tab. Go on at the start page.");
    location.assign("/");
  });
  show("enter");
}

async function invitation() {
  const found = await preview("invitationByToken", "accountName email level invitedByName");
  const { accountName, email } = found;
  const isAdmin = found.level === "ADMIN";
  about({ Account: accountName, "Invited by": found.invitedByName, "Your level": levels[found.level] }, found);
  part("email").value = email;
  part("email").readOnly = isAdmin;
  show("invited-only", isAdmin);
  onSubmit("sign-up", async (input) => {
    input = { ...input, invitationToken: token, client: "WEB" };
    accessToken = (await change("signUp", "credentials { accessToken }", input)).credentials.accessToken;
    await signOut();
    const address = input.email.trim();
    const next = `Open the link in the e-mail that was sent to ${address}, and enter your password there`;
    if (isAdmin) finish(`You have signed up. ${next}: then you join ${accountName} as Admin.`);
    else finish(`You have joined ${accountName}. ${next} to verify the address.`);
  });
  onSubmit("join", async (input) => {
    await signIn(input);
    try {
      const { level } = await change("acceptInvitation", "level", { token }, "AnswerInvitationInput");
      finish(`You have joined ${accountName} as ${levels[level]}.`);
    } finally {
      await signOut();
    }
  });
  onSubmit("decline", async () => {
    await change("declineInvitation", "invitation { id }", { token }, "AnswerInvitationInput");
    finish(`You have declined the invitation to ${accountName}.`);
  });
  show("sign-up");
  show("join");
  show("decline");
}

async function undoTransfer() {
  onSubmit("undo", async () => {
    const { account } = await change("undoTransfer", "account { name }", { token });
    finish(`You are the Owner of ${account.name} again. Sign in to look at its users, invitations and audit log.`);
  });
  show("undo");
}

/** The accounts that the person decides for: their own, as Owner or Admin. */
async function ownAccounts() {
  const fields = "edges { node { id name } level via { id } } pageInfo { hasNextPage endCursor }";
  const query = `query($after: String) { viewer { accounts(first: 100, after: $after) { ${fields} } } }`;
  const own = [];
  for (let after = null, more = true; more; ) {
    const { edges, pageInfo } = (await ask(query, { after })).viewer.accounts;
    own.push(...edges.filter(({ level, via }) => !via && ["OWNER", "ADMIN"].includes(level)));
    [after, more] = [pageInfo.endCursor, pageInfo.hasNextPage];
  }
  return own;
}

async function accessRequest() {
  const found = await preview("accessRequestByToken", "agencyName requestedByName requestedLevel");
  const { agencyName, requestedLevel } = found;
  about({ Agency: agencyName, "Asked by": found.requestedByName, "Level asked for": levels[requestedLevel] }, found);
  part("level").value = requestedLevel ?? "VIEWER";
  onSubmit("sign-in", async (input) => {
    await signIn(input);
    const own = await ownAccounts();
    if (!own.length) {
      await signOut();
      throw problem("You are Owner or Admin of no account, so you can't answer for one. Sign in as someone who is.");
    }
    part("account").replaceChildren(...own.map(({ node }) => new Option(node.name, node.id)));
    part("sign-in").reset();
    show("sign-in", false);
    show("decide");
    say(`You are signed in. Choose what ${agencyName} gets.`);
    part("account").focus();
  });
  onSubmit("decide", async ({ account: accountId, level }, answer) => {
    const name = part("account").selectedOptions[0].text;
    accessToken = (await change("switchAccount", "credentials { accessToken }", { accountId })).credentials.accessToken;
    if (answer === "decline") await change("declineClientRequest", "connection { id }", { token }, "AnswerClientRequestInput");
    else await change("approveClientRequest", "connection { id }", { token, accountId, level });
    finish(answer === "decline" ? `The request of ${agencyName} is declined.` : `${agencyName} can act in ${name}, up to ${levels[level]}.`);
    await signOut();
  });
  show("sign-in");
}

const pages = { "/verify-email": verifyEmail, "/stop-change": stopChange, "/reset-password": resetPassword, "/sign-in": signInWithLink, "/invitation": invitation, "/access-request": accessRequest, "/undo-transfer": undoTransfer };
addEventListener("hashchange", () => location.reload());
addEventListener("pagehide", signOut);
if (token) pages[location.pathname]?.().catch((error) => tell(error));
else say("Something is missing from this link. Open it from the e-mail again, or copy all of it.", true);
