// Who this browser tab acts as. The tokens live in `sessionStorage`, so that two tabs can act in two accounts, and a
// closed one leaves nothing behind.
import { ask, codes } from './ask.js';

const KEY = 'keyholder:session';
const CREDENTIALS = 'credentials { accessToken refreshToken } userErrors { code message field }';
const WHO = `{
  viewer { user { id name username email } level via { level agency { name } } }
  account { id name }
}`;
/** A timer takes no more milliseconds than this. */
const LONGEST = 2 ** 31 - 1;
/** When a server that did not answer is asked again. */
const RETRY = 10_000;

/** Every header that this page made, so that it can tell its own from one that somebody wrote. */
const made = new Set();
/** A duplicated browser tab has the same session; of its one-time refresh token, all need the latest. */
const twins = new BroadcastChannel(KEY);
const listeners = new Set();
let timer;
let renewing;
let state = { tokens: null, who: null, notice: null };

export const getSession = () => state;
export const onSession = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

function change(part) {
  state = { ...state, ...part };
  for (const listener of listeners) listener();
}

/** The header of the session as it is now; undefined when nobody is signed in. */
export const authorization = () => state.tokens && `Bearer ${state.tokens.accessToken}`;
export const isMade = (header) => made.has(header);
export const dismiss = () => change({ notice: null });

function keep(tokens) {
  clearTimeout(timer);
  if (tokens) {
    sessionStorage.setItem(KEY, JSON.stringify(tokens));
    made.add(`Bearer ${tokens.accessToken}`);
    timer = setTimeout(renew, Math.min(Math.max(tokens.renewAt - Date.now(), 0), LONGEST));
  } else {
    sessionStorage.removeItem(KEY);
  }
  change({ tokens });
}

function claims(token) {
  const text = atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'));
  return JSON.parse(text);
}

/** Tokens with the moment to renew them: a tenth before their end, by this machine's clock alone, which may be wrong. */
function tokensOf({ accessToken, refreshToken }) {
  const { iat, exp } = claims(accessToken);
  return { accessToken, refreshToken, renewAt: Date.now() + (exp - iat) * 900 };
}

twins.onmessage = ({ data: { sid, refreshToken } }) => {
  if (state.tokens && claims(state.tokens.accessToken).sid === sid) keep({ ...state.tokens, refreshToken });
};

/** Takes up the session that this tab had, if it still goes on. */
export async function resume() {
  const tokens = JSON.parse(sessionStorage.getItem(KEY));
  if (tokens) keep(tokens);
  await look();
}

/** Whether somebody signed out in this tab, and wants to stay so. */
export const hasLeft = () => sessionStorage.getItem(KEY) === 'null';

/** Reads who one is and where one acts; once more if the token had slept past its end. */
export async function look(isAgain = false) {
  if (!state.tokens) return undefined;
  const answer = await ask(WHO, undefined, (await fresh())?.accessToken);
  if (isOver(answer)) return !isAgain && (await renew()) ? look(true) : undefined;
  const { viewer, account } = answer.data ?? {};
  if (!viewer) return state.tokens && change({ notice: { text: answer.errors?.[0].message, way: 'look' } });
  const hasLost = !account;
  const text = 'Your access to the account that you acted in has ended.';
  const notice = hasLost ? { text, way: 'switch' } : state.notice?.way === 'stay' ? state.notice : null;
  return change({ who: { ...viewer, account }, notice });
}

const isOver = (answer) => codes(answer).includes('UNAUTHENTICATED');

/** The tokens, renewed when it is time. */
async function fresh() {
  if (state.tokens && state.tokens.renewAt <= Date.now()) await renew();
  return state.tokens;
}

/** Gets the next access token, once for all who ask at a time; answers whether the session goes on. */
export function renew() {
  renewing ??= next().finally(() => { renewing = undefined; });
  return renewing;
}

async function next() {
  if (!state.tokens) return false;
  const { accessToken, refreshToken } = state.tokens;
  const query = `mutation($input: RefreshSessionInput!) { refreshSession(input: $input) { account { name } switched ${CREDENTIALS} } }`;
  // The former access token says which account and connection to keep, also once it has expired.
  const answer = await ask(query, { input: { refreshToken } }, accessToken);
  const { account, switched, credentials } = answer.data?.refreshSession ?? {};
  const now = state.tokens;
  // Somebody else may have signed in meanwhile, or a twin was quicker; and who switched accounts stays in the new one.
  if (now?.refreshToken !== refreshToken) return Boolean(now);
  if (credentials) {
    keep(now.accessToken === accessToken ? tokensOf(credentials) : { ...now, refreshToken: credentials.refreshToken });
    twins.postMessage({ sid: claims(accessToken).sid, refreshToken: credentials.refreshToken });
    if (switched) {
      if (account) tell(`Your access to the account that you acted in has ended. You act in ${account.name} now.`);
      look();
    }
  } else if (isOver(answer)) end('Your session has ended.');
  else timer = setTimeout(renew, RETRY);
  return Boolean(credentials);
}

function end(text) {
  keep(null);
  change({ who: null, notice: text ? { text, way: 'sign-in' } : null });
}

/** Runs one mutation that gives credentials, and goes on with them; answers what the person can mend. */
async function enter(name, type, input, fields = '') {
  const query = `mutation($input: ${type}!) { ${name}(input: $input) { ${fields} ${CREDENTIALS} } }`;
  const answer = await ask(query, { input }, name === 'switchAccount' ? (await fresh())?.accessToken : undefined);
  const payload = answer.data?.[name];
  if (!payload?.credentials) {
    if (name === 'switchAccount' && isOver(answer)) await look();
    return payload?.userErrors.length ? payload.userErrors : answer.errors ?? [{ message: 'The server gave no session.' }];
  }
  if (payload.deviceToken) localStorage.setItem(deviceKey(input.login ?? input.email), payload.deviceToken);
  await adopt(answer);
  return [];
}

/** Where the token is that makes this browser a known device to a user, by the login as it was typed. */
const deviceKey = (login) => `keyholder:device:${login.trim().toLowerCase()}`;

export const signIn = (login, password, code) => {
  const deviceToken = localStorage.getItem(deviceKey(login));
  return enter('signIn', 'SignInInput', { login, password, code, deviceToken, client: 'WEB' }, 'deviceToken');
};
export const signUp = (input) => enter('signUp', 'SignUpInput', { ...input, client: 'WEB' }, 'deviceToken');
export const switchAccount = (accountId, connectionId) =>
  enter('switchAccount', 'SwitchAccountInput', { accountId, connectionId });

/** Goes on with the credentials that an answer holds: of a sign-in, or of a switch within the session. */
export async function adopt({ data }) {
  for (const payload of Object.values(data ?? {})) {
    const { accessToken, refreshToken } = payload?.credentials ?? {};
    if (!accessToken) continue;
    const isSame = state.tokens && claims(accessToken).sid === claims(state.tokens.accessToken).sid;
    if (!refreshToken && !isSame) continue;
    keep(tokensOf({ accessToken, refreshToken: refreshToken ?? state.tokens.refreshToken }));
    change({ notice: null });
  }
  await look();
}

/** Signs out here whatever the server says to it. */
export async function signOut() {
  const token = state.tokens?.accessToken;
  end();
  sessionStorage.setItem(KEY, 'null');
  await ask('mutation { signOut { signedOut } }', undefined, token);
}

/** Says something that stays until it is dismissed. */
export const tell = (text) => change({ notice: { text, way: 'stay' } });

/** The headers of the editor, where what this page made is brought up to date and all else is left as it is. */
export async function headersNow(written = {}) {
  const { authorization: sent, ...rest } = Object.fromEntries(
    Object.entries(written).map(([name, value]) => [name.toLowerCase(), value]),
  );
  if (!sent) return rest;
  if (!isMade(sent)) return { ...rest, authorization: sent };
  await fresh();
  return state.tokens ? { ...rest, authorization: authorization() } : rest;
}

/** Follows what an answer tells about the session; answers whether the same may be asked once more. */
export async function heed(answer, sent, isChange) {
  if (sent !== authorization()) return isChange && adopt(answer).then(() => false);
  if (isOver(answer)) return renew();
  if (isChange) await adopt(answer);
  else if (codes(answer).includes('ACCOUNT_ACCESS_ENDED')) await look();
  return false;
}
