// Random requests against a live server: valid ones must be answered as the specification has it, broken ones refused, and
// nothing may break, leak or die.
//
// RANDOM_REQUESTS=10000 asks more of each kind. RANDOM_SEED=… makes the requests of a failed run again: the same documents,
// with the ids of the new server in the places of the old. RANDOM_ONLY=17,42 sends these alone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildSchema } from 'graphql';
import { chance } from './random/chance.mjs';
import { answerProblems, bytesProblems, codes, leaks, mayBeRefused, responseProblems, socketProblems } from './random/checks.mjs';
import { nonconformities } from './random/conformance.mjs';
import { operation } from './random/generator.mjs';
import { malformed } from './random/malformed.mjs';
import { gather } from './random/people.mjs';
import { start } from './server.mjs';
import { events, hangUp, http, parts, raw, socket } from './random/transports.mjs';
import { Pool } from './random/values.mjs';

const REQUESTS = Number(process.env.RANDOM_REQUESTS ?? 1000);
const SEED = Number(process.env.RANDOM_SEED ?? Date.now() % 2 ** 32);
const ONLY = process.env.RANDOM_ONLY?.split(',').map(Number);
const AT_ONCE = 8;
const TOLD = 20;
const MULTIPART = 'multipart/mixed;subscriptionSpec=1.0, application/graphql-response+json, application/json;q=0.9';

const schema = buildSchema(readFileSync(new URL('../schema.graphql', import.meta.url), 'utf8'));
const pool = new Pool();
const counts = {};
let server, people, base;

before(async () => {
  server = await start();
  base = new URL(server.url).origin;
  people = await gather(server);
  await readMail();
});
after(async () => {
  hangUp();
  await server.stop();
});

/** Of a subscription, one event is enough. */
const heardOne = (text) => /event: \w+\n[^]*\n\n|"payload":[^]*\r\n---/.test(text);

const count = (name) => { counts[name] = (counts[name] ?? 0) + 1; };

/** Tokens of links, as people would find them in their mail. */
async function readMail() {
  const { text } = await http(base, { method: 'GET', path: '/mailbox.json' });
  for (const { token, to } of JSON.parse(text).slice(0, 100)) {
    if (token) pool.add('mailed', token);
    pool.add('email', Array.isArray(to) ? to[0] : to);
  }
}

/** Keeps what an answer tells somebody, to ask about it later. */
const harvest = (person) => (type, name, value) => {
  if (name === 'id') pool.add(`id:${type.name}`, value);
  else if (name === 'activityCursor' || type.name === 'ClientConnectionChange') pool.add(`cursor:ClientConnectionChange@${person.name}`, value);
  else if (name === 'cursor') pool.add(`cursor:${type.name.replace(/Edge$/, 'Connection')}`, value);
  else if (name === 'refreshToken') pool.add('refresh', value);
  else if (name === 'email') pool.add('email', value);
};

/** A request that could not even be sent, or whose answer could not be read. */
const failed = (error) => ({ wrong: [error.stack], answers: [], refused: true });

/** Sends a valid operation in one of the ways there are; answers its answers, and what is wrong with how they came. */
async function send(asked, person, chance) {
  const { kind, query, variables, operationName } = asked;
  const params = { query, variables, operationName };
  const authorization = person.token && { authorization: `Bearer ${person.token}` };
  const way = kind === 'subscription' ? chance.pick(['sse', 'multipart', 'socket']) : chance.weighted([[6, 'post'], [kind === 'query' ? 3 : 0, 'get'], [2, 'sse'], [2, 'socket']]);
  asked.way = way;
  const introspects = /__schema|__type\b/.test(query);
  if (way === 'socket') {
    const messages = [JSON.stringify({ type: 'connection_init', payload: authorization ?? {} }), JSON.stringify({ id: 'a', type: 'subscribe', payload: params })];
    const ended = ({ type }) => type === 'complete' || type === 'error' || (kind === 'subscription' && type === 'next');
    const said = await socket(base, messages, ended, kind === 'subscription');
    const answers = said.heard.flatMap(({ type, payload }) => ({ next: payload, error: { errors: payload } })[type] ?? []);
    return { wrong: socketProblems(said, introspects), answers, refused: said.code === 4403 };
  }
  if (way === 'sse') {
    const headers = { 'content-type': 'application/json', accept: 'text/event-stream', ...authorization };
    const response = await http(base, { headers, body: JSON.stringify(params) }, kind === 'subscription' ? heardOne : undefined);
    const answers = events(response.text);
    const wrong = [...leaks(response.text, introspects), ...answers.flatMap(answerProblems)];
    if (response.status !== 200 || response.headers['content-type'] !== 'text/event-stream') wrong.push(`status ${response.status}, type ${response.headers['content-type']}`);
    if (kind !== 'subscription' && !/event: complete\n/.test(response.text)) wrong.push('no complete');
    return { wrong, answers };
  }
  if (way === 'multipart') {
    const headers = { 'content-type': 'application/json', accept: MULTIPART, ...authorization };
    const response = await http(base, { headers, body: JSON.stringify(params) }, heardOne);
    if (response.status === 400) return json(response, introspects);
    const answers = parts(response.text);
    const wrong = [...leaks(response.text, introspects), ...answers.flatMap(answerProblems)];
    if (response.status !== 200 || !/^multipart\/mixed/.test(response.headers['content-type'])) wrong.push(`status ${response.status}, type ${response.headers['content-type']}`);
    return { wrong, answers };
  }
  const accept = chance.pick(['application/json', 'application/graphql-response+json', '*/*', 'application/graphql-response+json, application/json;q=0.9']);
  const search = new URLSearchParams({ query, ...(Object.keys(variables).length && { variables: JSON.stringify(variables) }), ...(operationName && { operationName }) });
  const encoding = chance.odds(0.2) && { 'accept-encoding': chance.pick(['gzip', 'br', 'gzip, deflate, br', 'identity', 'x']) };
  const response = way === 'get' && search.toString().length < 60_000
    ? await http(base, { method: 'GET', path: `/graphql?${search}`, headers: { accept, ...authorization, ...encoding } })
    : await http(base, { headers: { 'content-type': 'application/json', accept, ...authorization, ...encoding }, body: JSON.stringify(params) });
  return json(response, introspects);
}

function json(response, introspects) {
  const { wrong, answer } = responseProblems(response, introspects);
  return { wrong, answers: answer ? [answer] : [] };
}

async function wellFormed(number) {
  const own = chance(SEED).of(number);
  const person = people.anyone(own);
  const asked = operation(schema, own, pool.as(person.name), own.weighted([[7, 'query'], [3, 'mutation'], [1, 'subscription']]));
  const { wrong, answers, refused } = await send(asked, person, own).catch(failed);
  count(`${asked.kind} by ${asked.way}`);
  if (answers.length === 0 && asked.kind !== 'subscription' && !refused) wrong.push('no answer');
  for (const answer of answers) {
    for (const code of codes(answer)) count(code);
    if (answer.data && !answer.errors) count(`${asked.kind} without errors`);
    if ('data' in answer && answer.data !== null || answer.errors?.some(({ path }) => path)) wrong.push(...nonconformities(schema, asked, answer, harvest(person)));
    else if (!mayBeRefused(answer, asked.kind)) wrong.push('no data for a valid operation');
    if (codes(answer).has('UNAUTHENTICATED') && person.renew) await people.renew(person);
  }
  if (refused && person.renew) await people.renew(person);
  if (number % 200 === 199) await readMail();
  return wrong.length ? { number, person: person.name, ...asked, document: undefined, wrong, answers: answers.slice(0, 3) } : undefined;
}

async function broken(number) {
  const own = chance(SEED).of(number + 0x40000000);
  const asked = malformed(schema, own, pool);
  const person = people.anyone(own);
  const { wrong, answer } = await sendBroken(asked, person).catch(failed);
  count(`broken by ${asked.by}`);
  return wrong.length ? { number, person: person.name, ...asked, bytes: asked.bytes?.toString('latin1'), wrong, answer } : undefined;
}

async function sendBroken(asked, person) {
  if (asked.by === 'bytes') {
    const bytes = await raw(base, asked.bytes, !asked.ends);
    count(`bytes: ${/^HTTP\/1\.\d (\d+)/.exec(bytes.toString('latin1'))?.[1] ?? 'hung up'}`);
    return { wrong: bytesProblems(bytes), answer: bytes.toString('latin1').slice(0, 2000) };
  }
  if (asked.by === 'socket') {
    const said = await socket(base, asked.messages, ({ type }) => asked.any && ['next', 'error', 'complete'].includes(type), asked.any);
    count(`close ${said.code}`);
    return { wrong: [...socketProblems(said), ...(!asked.any && said.code === 1000 ? ['the socket was not closed'] : [])], answer: said };
  }
  const headers = { ...(person.token && { authorization: `Bearer ${person.token}` }), ...asked.headers };
  const stream = /event-stream|subscriptionSpec/.test(asked.headers?.accept);
  // A server may end a connection on which something was refused, and nobody else must be on it then.
  const response = await http(base, { ...asked, headers, alone: true }, stream ? heardOne : undefined);
  count(`status ${response?.status ?? 'lost'}`);
  if (!response) return { wrong: [] };
  const introspects = /__schema|__type\b/.test(asked.query ?? asked.body ?? asked.path);
  if (!/^\/graphql(\?|$)/.test(asked.path ?? '/graphql') || asked.method === 'HEAD' || response.status === 204) {
    return { wrong: [...leaks(response.text, true), ...(response.status >= 500 && response.status !== 503 ? [`status ${response.status}`] : [])], answer: response };
  }
  const read = { 'text/event-stream': events, 'multipart/mixed': parts }[response.headers['content-type']?.split(';')[0]];
  if (read) {
    const answers = read(response.text);
    return { wrong: [...leaks(response.text, introspects), ...answers.flatMap(answerProblems), ...accepted(asked, answers[0])], answer: response };
  }
  const { wrong, answer } = responseProblems(response, introspects);
  return { wrong: [...wrong, ...accepted(asked, answer)], answer: response.text.slice(0, 2000) };
}

/** A document that is wrong on purpose must not run. Of those that chance made wrong, the executor lets some oddities pass. */
function accepted({ invalid, chosen }, answer) {
  if (!invalid || !answer || !('data' in answer)) return [];
  count('invalid by chance, and run');
  return chosen ? ['an invalid document was run'] : [];
}

/** Runs requests, some at once, and fails with the first of those that something is wrong with. */
async function run(name, one) {
  const numbers = (ONLY ?? Array.from({ length: REQUESTS }, (_, number) => number)).values();
  const failures = [];
  const worker = async () => {
    for (const number of numbers) {
      if (failures.length >= TOLD) return;
      const failure = await one(number).catch((error) => ({ number, wrong: [error.stack] }));
      if (failure) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const told = failures.map((failure) => JSON.stringify(failure, undefined, 1)).join('\n\n');
  assert.equal(failures.length, 0, `${name}, RANDOM_SEED=${SEED}:\n${told}`);
  assert.ok(server.lives(), 'the server has ended');
  assert.equal((await http(base, { method: 'GET', path: '/healthz' })).text, 'ok\n');
}

test(`valid requests are answered as the specification has it (RANDOM_SEED=${SEED})`, () => run('valid', wellFormed));
test(`broken requests break nothing (RANDOM_SEED=${SEED})`, () => run('broken', broken));
test('the server logged no panic and no fault', (t) => {
  t.diagnostic(Object.entries(counts).sort(([one], [other]) => one.localeCompare(other)).map(([name, number]) => `${name}: ${number}`).join(', '));
  const lines = server.said().split('\n').filter((line) => /panicked|\bERROR\b/.test(line));
  assert.deepEqual(lines.slice(0, TOLD), []);
});
