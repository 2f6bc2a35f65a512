// What graphql-js makes of failures: src/http/nulls/tests/cases.json, which Keyholder's own tests are held to. With WRITE=1 the
// answers are written into it instead; a new case needs a name, a document and which paths fail, are null or are an Other.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  GraphQLError, buildSchema, execute, isAbstractType, isListType, isNonNullType, isObjectType, parse, subscribe, validate,
} from 'graphql';

const FOLDER = new URL('../src/http/nulls/tests/', import.meta.url);
const LENGTH = 2;
const schema = buildSchema(readFileSync(new URL('schema.graphql', FOLDER), 'utf8'));

/** A value of a type, as the case wants it at a path; an error is one that is thrown there. */
function made(type, path, is) {
  if (is('fails', path)) return new GraphQLError('It failed.');
  if (is('null', path)) return null;
  if (isNonNullType(type)) type = type.ofType;
  if (isListType(type)) return Array.from({ length: LENGTH }, (_, index) => made(type.ofType, `${path}.${index}`, is));
  if (isAbstractType(type)) return { __typename: is('other', path) ? 'Other' : 'Item' };
  return isObjectType(type) ? {} : 1;
}

const pathOf = (path) => (path.prev ? `${pathOf(path.prev)}.${path.key}` : `${path.key}`);

/** All that a case is answered with; a subscription has an answer for each payload. */
async function answers({ document: text, variables, ...given }) {
  let payload = 0;
  const is = (outcome, path) => (given[outcome] ?? []).some((at) => at === path || at === `${payload}:${path}`);
  const fieldResolver = async (_source, _args, _context, { returnType, path }) => made(returnType, pathOf(path), is);
  const document = parse(text);
  if (validate(schema, document).length > 0) return [{}];
  const request = { schema, document, variableValues: variables, fieldResolver };
  if (document.definitions[0].operation !== 'subscription') return [await told(await execute(request))];
  const all = [];
  async function* events() { for (; payload < LENGTH; payload += 1) yield {}; }
  for await (const answer of await subscribe({ ...request, subscribeFieldResolver: events })) all.push(await told(answer));
  return all;
}

/** What is compared of an answer. Errors of fields whose parents were lost meanwhile come a little later. */
async function told({ data, errors = [] }) {
  await new Promise(setImmediate);
  const paths = errors.filter((error) => error.path).map((error) => error.path.join('.'));
  return data === undefined ? {} : { data, errors: paths.sort() };
}

/** The table as text, a line for each property of a case. */
function written(cases) {
  const lines = ([key, value]) => {
    if (key !== 'answers') return `    ${JSON.stringify(key)}: ${JSON.stringify(value)}`;
    return `    "answers": [\n${value.map((answer) => `      ${JSON.stringify(answer)}`).join(',\n')}\n    ]`;
  };
  return `[\n${cases.map((each) => `  {\n${Object.entries(each).map(lines).join(',\n')}\n  }`).join(',\n')}\n]\n`;
}

test('the table of failures is what graphql-js answers', async () => {
  const file = new URL('cases.json', FOLDER);
  const text = readFileSync(file, 'utf8');
  const cases = [];
  for (const { answers: _, ...given } of JSON.parse(text)) cases.push({ ...given, answers: await answers(given) });
  if (process.env.WRITE) writeFileSync(file, written(cases));
  else assert.equal(text, written(cases));
});
