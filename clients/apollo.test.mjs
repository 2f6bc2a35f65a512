// Apollo Client asks, changes, meets a refusal, and hears of an approval: over HTTP as multipart/mixed, which its HttpLink
// asks for by itself, and over graphql-ws.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { start } from './server.mjs';

const AGENCY = 'grace@bright-harbor.example';
const CHANGES = gql`subscription Changes($after: String) { clientConnectionChanged(after: $after) { cursor event { id kind } connection { id status } } }`;
const LIMIT = 20_000;

let server, pending;
before(async () => {
  server = await start();
  const { account } = await server.ask('{ account { clientConnections(status: [PENDING]) { nodes { id clientEmail } } } }', await server.signIn(AGENCY));
  pending = account.clientConnections.nodes;
});
after(() => server.stop());

const apollo = (link) => new ApolloClient({ link, cache: new InMemoryCache() });
const http = (token, more) => apollo(new HttpLink({ uri: server.url, headers: { authorization: `Bearer ${token}` }, ...more }));
const multipart = (token, more) => ({ client: http(token, more), end: () => {} });
function ws(token) {
  const socket = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${token}` } });
  return { client: apollo(new GraphQLWsLink(socket)), end: () => socket.dispose() };
}

async function approve({ id, clientEmail }) {
  const token = await server.signIn(clientEmail);
  await server.ask(`mutation { approveClientRequest(input: {connectionId: "${id}", level: AUTHOR}) { userErrors { code } } }`, token);
}

const cursor = async (token) => (await server.ask('{ account { activityCursor } }', token)).account.activityCursor;

/** A subscription whose results are waited for one after the other; `over` tells how it ended. */
function listen(client, variables) {
  const results = [];
  const waiting = [];
  const hear = (result) => { (waiting.shift() ?? ((late) => results.push(late)))(result); };
  let subscription;
  const over = within(new Promise((resolve) => {
    subscription = client.subscribe({ query: CHANGES, variables }).subscribe({ next: hear, error: resolve, complete: () => resolve('complete') });
  }));
  const next = () => within(results.length ? Promise.resolve(results.shift()) : new Promise((resolve) => waiting.push(resolve)));
  return { next, over, unread: results, stop: () => subscription.unsubscribe() };
}

/** A promise that fails when nothing comes. */
function within(promise) {
  let late;
  const limit = new Promise((_, reject) => { late = setTimeout(reject, LIMIT, new Error('nothing came in time')); late.unref(); });
  return Promise.race([promise, limit]).finally(() => clearTimeout(late));
}

test('Apollo asks, with its cache in between', async () => {
  const client = http(await server.signIn(AGENCY));
  const query = gql`query Viewer { viewer { user { id name } level accounts(first: 2) { nodes { id name } } } }`;
  const { data } = await client.query({ query });
  assert.equal(data.viewer.user.name, 'Grace Okafor');
  assert.equal(data.viewer.accounts.nodes.length, 2);
  assert.deepEqual((await client.query({ query, fetchPolicy: 'cache-only' })).data, data);
});

test('Apollo asks by GET', async () => {
  const client = http(await server.signIn(AGENCY), { useGETForQueries: true });
  const { data } = await client.query({ query: gql`query Terms($area: PermissionArea) { roleMatrix(area: $area) { permission } }`, variables: { area: 'ACCESS' } });
  assert.ok(data.roleMatrix.length > 0);
});

test('Apollo changes something, and reads what the person can mend', async () => {
  const client = http(await server.signIn(AGENCY));
  const mutation = gql`mutation Invite($input: InviteUsersInput!) { inviteUsers(input: $input) { invitations { id email level } userErrors { code field } } }`;
  const { data } = await client.mutate({ mutation, variables: { input: { emails: ['new@apollo.example', 'none'], level: 'AUTHOR' } } });
  assert.deepEqual(data.inviteUsers.invitations.map(({ email, level }) => [email, level]), [['new@apollo.example', 'AUTHOR']]);
  assert.deepEqual(data.inviteUsers.userErrors.map(({ code, field }) => [code, field]), [['INVALID', ['emails', '1']]]);
});

test('what is FORBIDDEN is null in its place, with its error; the rest stands (L7)', async () => {
  const client = http(await server.signIn('leo@bright-harbor.example'));
  const { data, error } = await client.query({ query: gql`query Log { account { id name auditLog { totalCount } } }`, errorPolicy: 'all' });
  assert.equal(data.account.name, 'Bright Harbor Marketing');
  assert.equal(data.account.auditLog, null);
  assert.ok(CombinedGraphQLErrors.is(error), `${error}`);
  assert.deepEqual(error.errors.map(({ path, extensions }) => [path, extensions.code]), [[['account', 'auditLog'], 'FORBIDDEN']]);
});

test('a wrong document is an error with its code, whatever its status', async () => {
  const client = http(await server.signIn(AGENCY));
  await assert.rejects(client.query({ query: gql`query Wrong { nothing }` }), (error) => {
    assert.ok(CombinedGraphQLErrors.is(error), `${error}`);
    return error.errors[0].extensions.code === 'BAD_REQUEST';
  });
});

for (const [name, link, place] of [['multipart/mixed', multipart, 0], ['graphql-ws', ws, 1]]) {
  test(`${name}: Apollo hears the approval as it is made, and again with the cursor before it`, async () => {
    const token = await server.signIn(AGENCY);
    const { client, end } = link(token);
    const after = await cursor(token);
    const listener = listen(client, { after });
    await approve(pending[place]);
    const { data, error } = await listener.next();
    assert.equal(error, undefined);
    assert.equal(data.clientConnectionChanged.event.kind, 'CLIENT_ACCESS_APPROVED');
    assert.deepEqual({ ...data.clientConnectionChanged.connection, __typename: undefined }, { id: pending[place].id, status: 'ACTIVE', __typename: undefined });
    listener.stop();
    const again = listen(client, { after });
    assert.equal((await again.next()).data.clientConnectionChanged.cursor, data.clientConnectionChanged.cursor);
    again.stop();
    await end();
  });
}

/** The code of an error that ended a stream, in whichever of Apollo's classes it comes. */
const codeOf = ({ error }) => error?.errors?.[0]?.extensions?.code;

test('multipart/mixed: a stream ends with the session, says why, and completes', async () => {
  const token = await server.signIn(AGENCY);
  const listener = listen(http(token), { after: await eventful(token) });
  // The first result proves that the stream has begun: the session must not end before it.
  assert.ok((await listener.next()).data);
  await server.ask('mutation { signOut { signedOut } }', token);
  assert.equal(codeOf(await listener.next()), 'UNAUTHENTICATED');
  assert.equal(await listener.over, 'complete');
  assert.deepEqual(listener.unread, [], 'a stream without its last boundary would be told as cut');
});

test('multipart/mixed: what nobody may listen to is refused, and completes', async () => {
  const listener = listen(apollo(new HttpLink({ uri: server.url })), {});
  assert.equal(codeOf(await listener.next()), 'UNAUTHENTICATED');
  assert.equal(await listener.over, 'complete');
  assert.deepEqual(listener.unread, [], 'a stream without its last boundary would be told as cut');
});

test('multipart/mixed: the parts are as the protocol has them', async () => {
  const token = await server.signIn(AGENCY);
  const body = JSON.stringify({ query: 'subscription($after: String) { clientConnectionChanged(after: $after) { cursor } }', variables: { after: await eventful(token) } });
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9' };
  const response = await fetch(server.url, { method: 'POST', headers, body, signal: AbortSignal.timeout(LIMIT) });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^multipart\/mixed;\s*boundary="?-"?;\s*subscriptionSpec="?1\.0"?$/);
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes('"payload"') && text.endsWith('\r\n---')) break;
  }
  // Apollo takes a part when the boundary behind it has come, so each part has its own right behind it.
  const parts = text.split('\r\n---').filter(Boolean).map((part) => part.split('\r\n\r\n'));
  for (const [head, json] of parts) {
    assert.match(head, /^\r\ncontent-type: application\/json/i);
    const part = JSON.parse(json);
    assert.ok(Object.keys(part).length === 0 || part.payload?.data.clientConnectionChanged.cursor, json);
  }
  assert.ok(parts.some(([, json]) => json.includes('"payload"')));
});

test('a query is answered as JSON, though multipart/mixed is accepted too', async () => {
  const headers = { 'content-type': 'application/json', accept: 'multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9' };
  const response = await fetch(server.url, { method: 'POST', headers, body: '{"query":"{ __typename }"}' });
  assert.match(response.headers.get('content-type'), /^application\/graphql-response\+json/);
  assert.deepEqual(await response.json(), { data: { __typename: 'Query' } });
});

/** A cursor with something behind it, so that who listens from there hears something at once. */
async function eventful(token) {
  const before = await cursor(token);
  await server.ask(`mutation { requestClientAccess(input: {emails: ["${crypto.randomUUID()}@apollo.example"]}) { userErrors { code } } }`, token);
  return before;
}
