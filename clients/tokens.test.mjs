// Another service verifies access tokens by the public keys alone, with a library that is not the server's (I3).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import { serve, start } from './server.mjs';

let server, keys, issuer;
before(async () => {
  server = await start();
  issuer = new URL(server.url).origin;
  keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer));
});
after(() => server.stop());

test('i3 jose verifies an access token, and reads who acts where', async () => {
  const token = await server.signIn('grace@bright-harbor.example');
  const { viewer, account } = await server.ask('{ viewer { user { id } } account { id } }', token);
  const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience: 'keyholder', algorithms: ['EdDSA'], typ: 'at+jwt' });
  assert.deepEqual([protectedHeader.alg, protectedHeader.typ], ['EdDSA', 'at+jwt']);
  assert.deepEqual([payload.amr, payload.auth_time], [['pwd'], payload.iat]);
  assert.deepEqual([payload.sub, payload.acc, payload.lvl, payload.via], [viewer.user.id, account.id, 'OWNER', null]);
  assert.match(payload.sid, /^session_/);
});

test('i3 jose refuses what is changed, or meant for another', async () => {
  const token = await server.signIn('grace@bright-harbor.example');
  const [head, claims, signature] = token.split('.');
  const raised = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(claims, 'base64url')), sub: 'user_00000000000000000000000001' })).toString('base64url');
  await assert.rejects(jwtVerify(`${head}.${raised}.${signature}`, keys), errors.JWSSignatureVerificationFailed);
  await assert.rejects(jwtVerify(token, keys, { audience: 'another' }), errors.JWTClaimValidationFailed);
});

test('i3 the keys may be kept for a while', async () => {
  const answer = await fetch(new URL('/.well-known/jwks.json', issuer));
  assert.equal(answer.headers.get('cache-control'), 'public, max-age=300');
  const { keys: [key] } = await answer.json();
  assert.deepEqual({ ...key, kid: undefined, x: undefined }, { kty: 'OKP', crv: 'Ed25519', use: 'sig', alg: 'EdDSA', kid: undefined, x: undefined });
});

test('i3 jose verifies an access token by ES256, where that is set', async () => {
  const other = await serve('--token-algorithm', 'ES256');
  try {
    const issuer = new URL(other.url).origin;
    const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer));
    const input = 'email: "ann@x.example", password: "harbor lights at dawn", name: "Ann"';
    const { signUp } = await other.ask(`mutation { signUp(input: { ${input} }) { credentials { accessToken } } }`);
    const token = signUp.credentials.accessToken;
    const { protectedHeader } = await jwtVerify(token, keys, { issuer, audience: 'keyholder', algorithms: ['ES256'], typ: 'at+jwt' });
    const { keys: [{ kid, kty, crv, alg }] } = await (await fetch(new URL('/.well-known/jwks.json', issuer))).json();
    assert.deepEqual([kid, kty, crv, alg], [protectedHeader.kid, 'EC', 'P-256', 'ES256']);
    await assert.rejects(jwtVerify(token, keys, { algorithms: ['EdDSA'] }), errors.JOSEAlgNotAllowed);
  } finally {
    await other.stop();
  }
});
