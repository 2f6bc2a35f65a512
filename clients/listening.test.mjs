// The approval is heard by clients that know nothing of this server: graphql-ws and graphql-sse (E3).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';
import { start } from './server.mjs';

const QUERY = 'subscription($after: String) { clientConnectionChanged(after: $after) { cursor event { kind } connection { id status } } }';

let server, agency, since, pending;
before(async () => {
  server = await start();
  agency = await server.signIn('grace@bright-harbor.example');
  const { account } = await server.ask('{ account { activityCursor clientConnections(status: [PENDING]) { nodes { id clientEmail } } } }', agency);
  since = account.activityCursor;
  pending = account.clientConnections.nodes;
});
after(() => server.stop());

async function approve({ id, clientEmail }) {
  const token = await server.signIn(clientEmail);
  await server.ask(`mutation { approveClientRequest(input: {connectionId: "${id}", level: AUTHOR}) { userErrors { code } } }`, token);
}

/** The first change that a client's subscription tells, while somebody approves. */
async function heard(client, connection, variables) {
  const changes = client.iterate({ query: QUERY, variables });
  const first = changes.next();
  if (connection) await approve(connection);
  const { value } = await first;
  await changes.return();
  return value.data.clientConnectionChanged;
}

const ws = () => createWs({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${agency}` } });
const sse = () => createSse({ url: server.url, headers: { authorization: `Bearer ${agency}` } });

for (const [name, create, place] of [['graphql-ws', ws, 0], ['graphql-sse', sse, 1]]) {
  test(`${name} hears the approval, and again with the cursor before it`, async () => {
    const client = create();
    const told = await heard(client, pending[place], { after: since });
    assert.equal(told.event.kind, 'CLIENT_ACCESS_APPROVED');
    assert.deepEqual(told.connection, { id: pending[place].id, status: 'ACTIVE' });
    const again = await heard(create(), undefined, { after: since });
    assert.equal(again.cursor, told.cursor);
    since = told.cursor;
    await client.dispose();
  });
}
