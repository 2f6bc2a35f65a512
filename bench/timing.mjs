// Whether the time of an answer reveals that somebody has an address: for every path that takes one, known and unknown addresses in
// random order. AUC is the probability that a known address takes longer than an unknown one; 0.5 reveals nothing.
import { conclude, ms, option, p50, start, table } from './lib.mjs';
import { Http, page, post } from './wire.mjs';

/** Samples of each sort. */
const SAMPLES = option('samples', 500);
/** What is promised. */
const [LEAST, MOST] = [0.45, 0.55];
/** Addresses of each sort. Each is used five times on a path, within the limits of a mailbox. */
const POOL = Math.ceil(SAMPLES / 5);
/** The beginning of the only path to measure: `--only signIn`. */
const ONLY = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1] : '';
const PASSWORD = 'harbor lights at dawn';
const DAY = ['--access-token-ttl', '12h', '--invitations-per-day', '100000', '--client-requests-per-day', '100000', '--mails-per-user-per-day', '100000'];

const known = (n) => `known${n}@timing.example`;
const unknown = (n) => `other${n}@timing.example`;
const mutation = (text, token) => post(`mutation { ${text} }`, { token });
const wrong = [];

/** One connection to a server, and what is asked on it besides the samples. */
class Client {
  constructor(server) { this.http = new Http(server.port); }

  async send(bytes) {
    const { body, time } = await this.http.ask(bytes);
    return { body, time, ...JSON.parse(body) };
  }

  /** Asks a mutation that must succeed; answers its payload. */
  async done(text, token) {
    const { data, body } = await this.send(mutation(text, token));
    const payload = data && Object.values(data)[0];
    if (!payload || payload.userErrors?.length) throw new Error(`${text}: ${body}`);
    return payload;
  }

  async signUp(email) {
    const { credentials } = await this.done(`signUp(input: {email: "${email}", password: "${PASSWORD}", name: "Ann"}) { credentials { accessToken } userErrors { code } }`);
    return credentials.accessToken;
  }

  /** Signs these up, and verifies their addresses: who is not verified counts as nobody. */
  async people(emails) {
    const tokens = new Map();
    for (let first = 0; first < emails.length; first += 50) {
      const some = emails.slice(first, first + 50);
      for (const email of some) tokens.set(email, await this.signUp(email));
      for (const email of some) await this.verify(email, tokens.get(email));
    }
    return tokens;
  }

  async verify(email, token) {
    for (let tries = 0; tries < 500; tries += 1) {
      const mails = JSON.parse((await this.http.ask(page('/mailbox.json'))).body);
      const link = mails.find(({ to, kind }) => to === email && kind === 'verify_email');
      if (link) return this.done(`verifyEmail(input: {token: "${link.token}"}) { user { id } userErrors { code } }`, token);
    }
    throw new Error(`no e-mail to ${email}`);
  }

  async agency(token) {
    await this.done('changePlan(input: {plan: PREMIUM}) { userErrors { code } }', token);
    await this.done('joinPartnerProgram { userErrors { code } }', token);
    await this.done('enableClientAccess { userErrors { code } }', token);
  }
}

function shuffled(list) {
  for (let n = list.length - 1; n > 0; n -= 1) {
    const other = Math.floor(Math.random() * (n + 1));
    [list[n], list[other]] = [list[other], list[n]];
  }
  return list;
}

/** The probability that one of these times is longer than one of those, where equal ones count half. */
function auc(these, those) {
  const all = [...these.map((time) => ({ time, own: true })), ...those.map((time) => ({ time, own: false }))].sort((a, b) => a.time - b.time);
  let sum = 0;
  for (let from = 0, to; from < all.length; from = to) {
    to = from;
    while (to < all.length && all[to].time === all[from].time) to += 1;
    sum += all.slice(from, to).filter(({ own }) => own).length * ((from + 1 + to) / 2);
  }
  return (sum - these.length * (these.length + 1) / 2) / (these.length * those.length);
}

/** So many samples of each sort. `ask` makes the request for an address, `right` says if the answer is the expected one. */
async function sample(client, { ask, right, after = async () => {} }) {
  const times = { known: [], unknown: [] };
  const turns = Array.from({ length: SAMPLES }, (_, n) => [['known', known(n % POOL), n], ['unknown', unknown(n % POOL), n]]).flat();
  // The first answers of a process are not its usual ones.
  const warmUp = shuffled(turns.slice(-40));
  for (const [measured, list] of [[false, warmUp], [true, shuffled(turns)]]) {
    for (const [sort, email, n] of list) {
      const answer = await client.send(ask(email, n, measured));
      if (!right(answer)) throw new Error(answer.body);
      if (measured) times[sort].push(answer.time);
      await after(answer);
    }
  }
  return times;
}

const rows = [];

async function measure(name, client, path) {
  if (ONLY && !name.startsWith(ONLY)) return;
  let times = await sample(client, path);
  let value = auc(times.known, times.unknown);
  // By chance alone one in 150 is outside. Only what is outside twice is wrong.
  if (value < LEAST || value > MOST) {
    times = await sample(client, path);
    value = auc(times.known, times.unknown);
  }
  if (value < LEAST || value > MOST) wrong.push(`${name}: an AUC of ${value.toFixed(3)}, outside ${LEAST} to ${MOST}`);
  rows.push([name, value.toFixed(3), ms(p50(times.known)), ms(p50(times.unknown))]);
  console.error(`${name}: ${value.toFixed(3)}`);
}

const noErrors = ({ body }) => body.includes('"userErrors":[]');
const has = (text) => ({ body }) => body.includes(text);
const request = (email, token) => mutation(`requestClientAccess(input: {emails: ["${email}"]}) { connections { id } userErrors { code } }`, token);

// Within the quotas. Anonymous clients are not slowed down here: all samples come from one address.
const server = await start(['serve', '--dev', '--sign-in-throttle', 'off', ...DAY], 'listening on');
const client = new Client(server);
await client.people(Array.from({ length: POOL }, (_, n) => known(n)));
// A user can have four more links sent on the day of the sign-up, and there may be two rounds.
const askers = [];
for (let n = 0; 'changeEmail'.startsWith(ONLY) && n < SAMPLES + 30; n += 1) askers.push(await client.signUp(`asker${n}@timing.example`));
let asked = 0;
await measure('changeEmail', client, {
  ask: (email) => mutation(`changeEmail(input: {email: "${email}"}) { userErrors { code } }`, askers[Math.floor((asked += 1) / 4)]),
  right: noErrors,
});
const [agency, employer] = [...(await client.people(['agency@timing.example', 'employer@timing.example'])).values()];
await client.agency(agency);
await client.done('changePlan(input: {plan: PREMIUM}) { userErrors { code } }', employer);
await measure('signIn, a wrong password', client, {
  ask: (email) => mutation(`signIn(input: {login: "${email}", password: "not it at all"}) { userErrors { code } }`),
  right: has('WRONG_CREDENTIALS'),
});
await measure('requestPasswordReset', client, {
  ask: (email) => mutation(`requestPasswordReset(input: {email: "${email}"}) { accepted }`),
  right: has('"accepted":true'),
});
await measure('inviteUsers', client, {
  ask: (email) => mutation(`inviteUsers(input: {emails: ["${email}"], level: VIEWER}) { invitations { id } userErrors { code } }`, employer),
  right: noErrors,
  after: ({ data }) => client.done(`cancelInvitation(input: {invitationId: "${data.inviteUsers.invitations[0].id}"}) { userErrors { code } }`, employer),
});
await measure('requestClientAccess', client, {
  ask: (email) => request(email, agency),
  right: noErrors,
  after: ({ data }) => client.done(`cancelClientRequest(input: {connectionId: "${data.requestClientAccess.connections[0].id}"}) { userErrors { code } }`, agency),
});
client.http.end();
await server.stop();

// Past the quotas.
const strict = await start(['serve', '--dev', '--access-token-ttl', '12h', '--client-requests-per-day', '1'], 'listening on');
const late = new Client(strict);
const few = Math.min(POOL, 50);
const tokens = await late.people([...Array.from({ length: few }, (_, n) => known(n)), 'agency@timing.example']);
const used = tokens.get('agency@timing.example');
await late.agency(used);
await late.done('requestClientAccess(input: {emails: ["last@timing.example"]}) { userErrors { code } }', used);
const some = (email) => email.replace(/\d+/, (n) => String(Number(n) % few));
await measure('requestClientAccess, past the quota', late, {
  ask: (email) => request(some(email), used),
  right: has('DAILY_LIMIT_REACHED'),
});
const signUp = (email) => mutation(`signUp(input: {email: "${email}", password: "${PASSWORD}", name: "Ann"}) { userErrors { code } }`);
for (let n = 0; n < 200; n += 1) await late.send(signUp('not an address'));
await measure('signUp, throttled', late, { ask: (email) => signUp(some(email)), right: ({ body }) => /RATE_LIMITED|TAKEN|"userErrors":\[\]/.test(body) });
late.http.end();
await strict.stop();

table([`${SAMPLES} samples of each`, 'AUC', 'p50, known', 'p50, unknown'], rows);
conclude(wrong);
