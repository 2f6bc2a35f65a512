// Random operations that are valid by the schema, as graphql-js judges: whatever else a server says, it can't call them wrong.
import {
  getNamedType, getNullableType, isAbstractType, isCompositeType, isInterfaceType, isNonNullType, parse, validate,
} from 'graphql';
import { literal, value, written } from './values.mjs';

/** What ends sessions and connections would soon leave nothing to ask about, if it were as frequent as what begins them. */
const WEIGHTS = { deleteUser: 0.02, closeAccount: 0.05, leaveAccount: 0.05, revokeUser: 0.2, suspendUser: 0.2, transferOwnership: 0.2, changePassword: 0.2, revokeOtherSessions: 0.1, requestClientAccess: 3, approveClientRequest: 2, setConnectionLevel: 2, signOut: 0.1, endClientConnection: 0.2, disableClientAccess: 0.05, cancelClientRequest: 0.3, removeClientUser: 0.3, blockAgency: 0.2, declineClientRequest: 0.2, refreshSession: 0.3, signIn: 0.3, signUp: 0.3, changePlan: 0.5 };

/** Makes one operation: `{ kind, query, variables, operationName, document }`. */
export function operation(schema, chance, pool, kind) {
  for (let tries = 0; tries < 50; tries += 1) {
    const made = new Writer(schema, chance, pool).operation(kind);
    const document = parse(made.query);
    // Overlapping fields are the one rule that this writer does not keep by itself.
    if (validate(schema, document).length === 0) return { ...made, kind, document };
  }
  throw new Error('no valid operation in 50 tries');
}

/** What graphql-js can be asked about directives and the specification of October 2021 does not have. */
const isNewer = (type, field) => type.name === '__Directive' && ['isDeprecated', 'deprecationReason'].includes(field.name);

class Writer {
  constructor(schema, chance, pool) {
    Object.assign(this, { schema, chance, pool, aliases: 0, fragments: [], definitions: [], variables: {} });
    this.budget = chance.weighted([[10, 12], [10, 40], [3, 150], [1, 600]]);
    this.deepest = chance.weighted([[6, 4], [6, 7], [2, 12], [1, 24]]);
  }

  operation(kind) {
    const { chance } = this;
    const root = kind === 'query' ? this.schema.getQueryType() : kind === 'mutation' ? this.schema.getMutationType() : this.schema.getSubscriptionType();
    const selection = kind === 'query' ? this.selection(root, 0) : this.root(root, kind);
    const named = this.definitions.length > 0 || kind !== 'query' || chance.odds(0.5);
    const others = named && chance.odds(0.1) ? ['query Other { __typename }'] : [];
    const name = named && (others.length || chance.odds(0.6)) ? 'Main' : '';
    const definitions = this.definitions.length ? `(${this.definitions.join(chance.pick([', ', ' ', '\n']))})` : '';
    const main = `${named ? `${kind} ${name}${definitions} ` : ''}${selection}`;
    const parts = [main, ...others, ...this.fragments.map(({ text }) => text)];
    if (named && chance.odds(0.3)) parts.reverse();
    const query = parts.join(chance.pick(['\n', ' ', '\n\n', ' # a comment {\n', ',\ufeff']));
    const operationName = others.length || (name && chance.odds(0.5)) ? name : undefined;
    return { query, variables: this.variables, operationName };
  }

  /** The root of a mutation or a subscription: its keys must not repeat, and a subscription has one. */
  root(type, kind) {
    const { chance } = this;
    const weights = Object.values(type.getFields()).map((field) => [WEIGHTS[field.name] ?? 1, field]);
    const count = kind === 'mutation' ? chance.weighted([[6, 1], [2, 2], [1, 4]]) : 1;
    const fields = Array.from({ length: count }, (_, place) => {
      const field = chance.weighted(weights);
      const alias = place > 0 || chance.odds(0.2) ? `r${place}` : undefined;
      return this.field(field, 0, alias, kind === 'mutation');
    });
    if (kind === 'mutation' && chance.odds(0.1)) fields.unshift('__typename');
    const selected = fields.join(chance.pick([' ', '\n', ', ']));
    return `{ ${chance.weighted([[8, () => selected], [1, () => `...${this.fragment(type, selected)}`], [1, () => `... on ${type.name} { ${selected} }`]])()} }`;
  }

  selection(type, depth) {
    const { chance } = this;
    const items = [];
    // Only an object's own name tells which of the fragments on it were meant.
    if (isAbstractType(type)) items.push('__typename');
    const most = chance.weighted([[8, 2], [8, 4], [2, 9]]);
    for (let count = 0; count < most && this.budget > 0; count += 1) items.push(this.item(type, depth));
    return `{ ${(items.length ? items : ['__typename']).join(chance.pick([' ', '\n', ', ']))} }`;
  }

  item(type, depth) {
    const { chance } = this;
    this.budget -= 1;
    if (depth > 0 || type === this.schema.getQueryType()) {
      const within = () => chance.pick(this.narrower(type));
      if (chance.odds(0.08)) {
        const on = within();
        return `...${chance.odds(0.3) && on === type ? '' : ` on ${on.name}`}${this.directives()} ${this.selection(on, depth)}`;
      }
      if (chance.odds(0.08)) {
        const known = this.fragments.filter(({ on }) => on === type);
        if (known.length && chance.odds(0.5)) return `...${chance.pick(known).name}${this.directives()}`;
        const on = within();
        return `...${this.fragment(on, this.selection(on, depth).slice(1, -1))}${this.directives()}`;
      }
    }
    const fields = 'getFields' in type ? Object.values(type.getFields()).filter((field) => !isNewer(type, field)) : [];
    const fit = depth < this.deepest ? fields : fields.filter((field) => !isCompositeType(getNamedType(field.type)));
    if (type === this.schema.getQueryType() && chance.odds(0.04)) return this.introspection();
    if (!fit.length || chance.odds(0.04)) return chance.odds(0.3) ? `t${(this.aliases += 1)}: __typename` : '__typename';
    const deeper = fit.filter((field) => isCompositeType(getNamedType(field.type)));
    const field = deeper.length && this.deepest > 7 && chance.odds(0.6) ? chance.pick(deeper) : chance.pick(fit);
    const alias = chance.odds(0.2) || field.args.length ? `a${(this.aliases += 1)}` : undefined;
    return this.field(field, depth, chance.odds(0.8) ? alias : undefined, true);
  }

  /** Types that a fragment on something of `type` may name. */
  narrower(type) {
    if (isAbstractType(type)) return [type, ...this.schema.getPossibleTypes(type)];
    return [type, type, ...type.getInterfaces().filter(isInterfaceType)];
  }

  field(field, depth, alias, directives) {
    const type = getNamedType(field.type);
    const parts = [alias ? `${alias}: ${field.name}` : field.name, this.args(field), directives ? this.directives() : ''];
    if (isCompositeType(type)) parts.push(` ${this.selection(type, depth + 1)}`);
    return parts.join('');
  }

  fragment(on, selected) {
    const name = `F${this.fragments.length}`;
    this.fragments.push({ name, on, text: `fragment ${name} on ${on.name} { ${selected} }` });
    return name;
  }

  args(field) {
    const { chance, pool } = this;
    const list = getNamedType(field.type).name;
    // A subscription is heard to say something only behind a cursor; a page behind one is mostly empty.
    const odds = (arg) => (!['after', 'before'].includes(arg.name) ? 0.3 : list === 'ClientConnectionChange' ? 0.7 : 0.15);
    const given = field.args.filter((arg) => arg.name !== 'includeDeprecated' && (isNonNullType(arg.type) || chance.odds(odds(arg))));
    // Both directions at once are refused, which is known by now.
    const kept = given.filter((arg) => chance.odds(0.05) || !['last', 'before'].includes(arg.name) || !given.some(({ name }) => ['first', 'after'].includes(name)));
    const written = kept.map((arg) => `${arg.name}: ${literal(arg.type, chance, pool, arg.name, list, (type, name) => this.variable(type, name, list))}`);
    return written.length ? `(${written.join(chance.pick([', ', ' ']))})` : '';
  }

  /** Declares a variable that may stand at a place of this type, and mostly gives it a value. */
  variable(type, name, list) {
    const { chance, pool } = this;
    const called = `v${this.definitions.length}`;
    const make = (type) => value(type, chance, pool, name, list);
    const inner = getNullableType(type);
    const kind = isNonNullType(type) ? chance.pick(['strict', 'strict', 'default']) : chance.pick(['strict', 'default', 'nullable', 'nullable', 'absent']);
    const spelled = kind === 'strict' ? `${inner}!` : `${inner}`;
    let standard = '';
    if (kind === 'default') {
      // Whoever leaves out a variable with a default must not notice that its place takes no null.
      const given = nonNull(make, type);
      standard = ` = ${written(given, inner, chance)}`;
    }
    this.definitions.push(`$${called}: ${spelled}${standard}`);
    const left = kind === 'absent' || (kind === 'default' && chance.odds(0.5));
    if (!left) this.variables[called] = kind === 'nullable' ? make(inner) : nonNull(make, type);
    return `$${called}`;
  }

  directives() {
    const { chance } = this;
    if (this.introspects || !chance.odds(0.08)) return '';
    const one = () => {
      const wanted = chance.odds(0.5);
      if (chance.odds(0.6)) return String(wanted);
      const called = `v${this.definitions.length}`;
      const standard = chance.odds(0.3);
      this.definitions.push(`$${called}: Boolean!${standard ? ` = ${wanted}` : ''}`);
      if (!standard || chance.odds(0.5)) this.variables[called] = wanted;
      return `$${called}`;
    };
    const skip = () => ` @skip(if: ${one()})`;
    const include = () => ` @include(if: ${one()})`;
    return chance.pick([skip, include, () => skip() + include()])();
  }

  introspection() {
    const { chance } = this;
    const [name, args, type] = chance.odds(0.5)
      ? ['__schema', '', this.schema.getType('__Schema')]
      : ['__type', `(name: "${chance.pick(Object.keys(this.schema.getTypeMap()))}")`, this.schema.getType('__Type')];
    const before = this.deepest;
    // Lists of lists of types grow fast. And the executor makes null of a type of which all is skipped, which nobody asks for.
    Object.assign(this, { deepest: Math.min(before, 3), introspects: true });
    const selection = this.selection(type, 0);
    Object.assign(this, { deepest: before, introspects: false });
    return `i${(this.aliases += 1)}: ${name}${args} ${selection}`;
  }
}

function nonNull(make, type) {
  for (;;) {
    const made = make(getNullableType(type));
    if (made !== null) return made;
  }
}

/** How an operation reads when it is told. */
export const told = ({ query, variables, operationName }) => JSON.stringify({ query, variables, operationName });
