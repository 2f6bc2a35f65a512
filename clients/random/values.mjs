// Values for arguments and variables: good ones, mostly of things that earlier answers told of, and some that are none.
import { getNullableType, isEnumType, isInputObjectType, isListType, isNonNullType } from 'graphql';

const KEPT = 300;
const PASSWORD = 'harbor lights at dawn';
const ODD = ['', ' ', 'ä', '日本語', '𝒳𝒴', 'a\u0301', '\u202e\u2066abc', 'x'.repeat(300), '\n\r\t', '"""', '\\', "'; --", '{{7*7}}', '<b>&amp;', '\u0000', '%00', '🙂'];

/** What earlier answers told: ids by type, cursors by list, tokens. The newest stay. */
export class Pool {
  #kept = new Map();

  add(kind, value) {
    const values = this.#kept.get(kind) ?? this.#kept.set(kind, new Set()).get(kind);
    values.delete(value);
    values.add(value);
    if (values.size > KEPT) values.delete(values.values().next().value);
  }

  pick(chance, kind) {
    const values = [...(this.#kept.get(kind) ?? [])];
    return values.length ? chance.pick(values) : undefined;
  }

  /** The same, of which one person prefers what they were told themselves: a cursor of a log is of no use to others. */
  as(name) {
    return { pick: (chance, kind) => this.pick(chance, `${kind}@${name}`) ?? this.pick(chance, kind), pickId: (chance) => this.pickId(chance) };
  }

  pickId(chance) {
    const kinds = [...this.#kept.keys()].filter((kind) => kind.startsWith('id:'));
    return kinds.length ? this.pick(chance, chance.pick(kinds)) : undefined;
  }
}

const PREFIXES = ['account', 'user', 'member', 'invitation', 'connection', 'place', 'event', 'session', 'thing'];
const TYPES = { accountId: 'id:Account', connectionId: 'id:ClientConnection', invitationId: 'id:Invitation', actor: 'id:User' };

function id(chance, pool, name) {
  const known = () => (TYPES[name] ? pool.pick(chance, TYPES[name]) : undefined) ?? pool.pickId(chance);
  const random = () => `${chance.pick(PREFIXES)}_${chance.letters(26)}`;
  return chance.weighted([[14, known], [2, () => pool.pickId(chance)], [2, random], [1, () => chance.pick(ODD)], [1, () => chance.below(1e6)]])() ?? random();
}

const email = (chance, pool) => chance.weighted([
  [5, () => `${chance.letters(6)}@${chance.letters(5)}.example`],
  [3, () => pool.pick(chance, 'email')],
  [1, () => `${chance.letters(3)}@x.example, ${chance.letters(3)}@y.example`],
  [1, () => chance.pick(ODD)],
])() ?? 'nobody@nowhere.example';

const words = (chance) => (chance.odds(0.7) ? chance.letters(chance.between(1, 12)) : chance.pick(ODD));

/** Strings by the names of their arguments; what has no entry gets words. */
const STRINGS = {
  email,
  emails: email,
  // Nobody's own login goes with a wrong password: a throttled person could not go on with the test.
  login: (chance) => `${chance.letters(6)}@nowhere.example`,
  password: (chance) => (chance.odds(0.8) ? PASSWORD : chance.pick(ODD)),
  token: (chance, pool) => pool.pick(chance, 'mailed') ?? chance.letters(30),
  invitationToken: (chance, pool) => pool.pick(chance, 'mailed') ?? chance.letters(30),
  refreshToken: (chance, pool) => (chance.odds(0.6) ? pool.pick(chance, 'refresh') : undefined) ?? chance.letters(43),
  username: (chance) => chance.letters(chance.between(2, 40)),
};
const cursor = (chance, pool, list) => (chance.odds(0.8) ? pool.pick(chance, `cursor:${list}`) : undefined) ?? words(chance);

function leaf(type, chance, pool, name, list) {
  if (isEnumType(type)) return chance.pick(type.getValues()).name;
  switch (type.name) {
    case 'Boolean': return chance.odds(0.5);
    case 'Int': return chance.odds(0.9) ? chance.between(1, name === 'first' || name === 'last' ? 8 : 100) : chance.pick([0, -1, 100, 101, 2147483647, -2147483648]);
    case 'ID': return id(chance, pool, name);
    case 'String':
      if (name === 'after' || name === 'before') return cursor(chance, pool, list);
      return (STRINGS[name] ?? words)(chance, pool);
    case 'DateTime': return new Date(Date.now() + chance.between(-1000, 1000) * 60_000).toISOString();
    default: throw new Error(`no values for ${type.name}`);
  }
}

/** A value of an input type, as JSON has it. `list` names the list that a cursor would be of. */
export function value(type, chance, pool, name, list) {
  if (!isNonNullType(type) && chance.odds(0.08)) return null;
  const inner = getNullableType(type);
  if (isListType(inner)) {
    // A value that is none stands for a list of one.
    if (chance.odds(0.15)) return value(inner.ofType, chance, pool, name, list);
    return Array.from({ length: chance.weighted([[1, 0], [6, 1], [4, 3], [1, 12]]) }, () => value(inner.ofType, chance, pool, name, list));
  }
  if (!isInputObjectType(inner)) return leaf(inner, chance, pool, name, list);
  const given = Object.values(inner.getFields()).filter((field) => isNonNullType(field.type) || chance.odds(0.5));
  return Object.fromEntries(given.map((field) => [field.name, value(field.type, chance, pool, field.name, list)]));
}

/** A string as GraphQL writes it. */
export function quoted(text, chance) {
  const plain = /^[\w @.,-]+$/.test(text) && !/^\s|\s$/.test(text);
  // JSON's escapes are GraphQL's, but GraphQL takes no raw control characters in its source, and JSON escapes those.
  return plain && chance.odds(0.1) ? `"""${text}"""` : JSON.stringify(text);
}

/** A literal of an input type; `variable` may put a variable of the type in its place or in that of a part. */
export function literal(type, chance, pool, name, list, variable) {
  const inner = getNullableType(type);
  if (chance.odds(0.2)) return variable(type, name);
  if (isListType(inner) && chance.odds(0.85)) {
    const items = Array.from({ length: chance.weighted([[1, 0], [6, 1], [4, 3]]) }, () => literal(inner.ofType, chance, pool, name, list, variable));
    return `[${items.join(chance.pick([', ', ' ', ',']))}]`;
  }
  if (isInputObjectType(inner)) {
    const given = Object.values(inner.getFields()).filter((field) => isNonNullType(field.type) || chance.odds(0.5));
    return `{${given.map((field) => `${field.name}: ${literal(field.type, chance, pool, field.name, list, variable)}`).join(', ')}}`;
  }
  if (isListType(inner)) return literal(inner.ofType, chance, pool, name, list, variable);
  return written(value(type, chance, pool, name, list), inner, chance);
}

/** A JSON value as a literal of its type. */
export function written(value, type, chance) {
  const inner = getNullableType(type);
  if (value === null) return 'null';
  if (isListType(inner)) {
    return Array.isArray(value) ? `[${value.map((item) => written(item, inner.ofType, chance)).join(' ')}]` : written(value, inner.ofType, chance);
  }
  if (isInputObjectType(inner)) {
    const fields = inner.getFields();
    return `{${Object.entries(value).map(([name, part]) => `${name}: ${written(part, fields[name].type, chance)}`).join(' ')}}`;
  }
  if (typeof value === 'string' && !isEnumType(inner)) return quoted(value, chance);
  return String(value);
}
