// GraphQL over HTTP, as graphql-http audits it: every MUST, SHOULD and MAY (THREATS 20).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { serverAudits } from 'graphql-http';
import { start } from './server.mjs';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

test('threat_20 every audit of graphql-http', async () => {
  const failed = [];
  const audits = serverAudits({ url: () => server.url });
  for (const audit of audits) {
    const result = await audit.fn();
    if (result.status !== 'ok') failed.push(`${audit.name}: ${result.reason}`);
  }
  assert.deepEqual(failed, []);
  assert.ok(audits.length >= 61, `${audits.length}`);
});
