// Whether an answer is one that the specification allows: keys in the document's order, values of the schema's types, no null
// where none may be, and each error's path leading to a null.
import {
  getNamedType, isAbstractType, isCompositeType, isEnumType, isListType, isNonNullType, Kind, SchemaMetaFieldDef, TypeMetaFieldDef, typeFromAST, valueFromAST,
} from 'graphql';

const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
const LEAVES = {
  Boolean: (value) => typeof value === 'boolean',
  Int: (value) => Number.isInteger(value) && Math.abs(value) <= 2 ** 31,
  Float: Number.isFinite,
  String: (value) => typeof value === 'string',
  ID: (value) => typeof value === 'string',
  URL: (value) => typeof value === 'string' && URL.canParse(value),
  DateTime: (value) => DATE.test(value) && !Number.isNaN(Date.parse(value)),
};

/** Tells what is wrong with an answer to an operation; `seen(type, key, value)` hears of every leaf. */
export function nonconformities(schema, { document, operationName, variables, kind }, answer, seen = () => {}) {
  const wrong = [];
  const operations = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  const operation = operations.find((definition) => operations.length === 1 || definition.name?.value === operationName);
  const root = { query: schema.getQueryType(), mutation: schema.getMutationType(), subscription: schema.getSubscriptionType() }[kind];
  const reader = new Reader(schema, document, given(schema, operation, variables), wrong, seen);
  if (answer.data !== null) reader.object(root, [operation.selectionSet], answer.data, 'data');
  else if (!answer.errors?.length) wrong.push('data is null, and no error says why');
  for (const { path, message } of answer.errors ?? []) {
    if (!path) wrong.push(`an error beside data has no path: ${message}`);
    else if (!leadsToNull(answer.data, path)) wrong.push(`the path ${path.join('.')} leads to no null: ${message}`);
  }
  return wrong;
}

function given(schema, operation, variables) {
  const pairs = (operation.variableDefinitions ?? []).map(({ variable, defaultValue, type }) => {
    const name = variable.name.value;
    return [name, name in variables ? variables[name] : defaultValue && valueFromAST(defaultValue, typeFromAST(schema, type))];
  });
  return Object.fromEntries(pairs);
}

function leadsToNull(data, path) {
  let at = data;
  for (const step of path) {
    if (at === null) return true;
    at = at?.[step];
  }
  return at === null;
}

class Reader {
  constructor(schema, document, variables, wrong, seen) {
    const fragments = document.definitions.filter((definition) => definition.kind === Kind.FRAGMENT_DEFINITION);
    Object.assign(this, { schema, variables, wrong, seen, fragments: Object.fromEntries(fragments.map((fragment) => [fragment.name.value, fragment])) });
  }

  object(declared, selections, value, path) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return void this.wrong.push(`${path} is no object`);
    const type = isAbstractType(declared) ? this.schema.getType(value.__typename) : declared;
    if (!type || !this.schema.isSubType(declared, type) && type !== declared) return void this.wrong.push(`${path} is a ${value.__typename}, which is no ${declared}`);
    const wanted = new Map();
    for (const selection of selections) this.collect(type, selection, wanted);
    const keys = Object.keys(value);
    // Keys that look like numbers would be sorted by JavaScript; the generator makes none.
    if (keys.join() !== [...wanted.keys()].join()) this.wrong.push(`${path} has the keys ${keys}, and the document wants ${[...wanted.keys()]}`);
    for (const [key, nodes] of wanted) {
      if (!(key in value)) continue;
      const name = nodes[0].name.value;
      if (name === '__typename') {
        if (value[key] !== type.name) this.wrong.push(`${path}.${key} is ${value[key]}, and the type is ${type}`);
        continue;
      }
      const field = { __schema: SchemaMetaFieldDef, __type: TypeMetaFieldDef }[name] ?? type.getFields()[name];
      this.value(field.type, nodes, value[key], `${path}.${key}`, type, name);
    }
  }

  /** The fields of a selection by their keys, in order, as the specification's CollectFields. */
  collect(type, selection, wanted) {
    for (const node of selection.selections) {
      if (!this.included(node)) continue;
      if (node.kind === Kind.FIELD) {
        const key = (node.alias ?? node.name).value;
        if (wanted.has(key)) wanted.get(key).push(node);
        else wanted.set(key, [node]);
        continue;
      }
      const fragment = node.kind === Kind.FRAGMENT_SPREAD ? this.fragments[node.name.value] : node;
      const on = fragment.typeCondition ? this.schema.getType(fragment.typeCondition.name.value) : type;
      if (on === type || (isAbstractType(on) && this.schema.isSubType(on, type))) this.collect(type, fragment.selectionSet, wanted);
    }
  }

  included(node) {
    const says = (name) => {
      const directive = node.directives?.find((directive) => directive.name.value === name);
      const condition = directive?.arguments[0].value;
      return condition && (condition.kind === Kind.VARIABLE ? this.variables[condition.name.value] : condition.value);
    };
    return says('skip') !== true && says('include') !== false;
  }

  value(declared, nodes, value, path, parent, name) {
    const type = isNonNullType(declared) ? declared.ofType : declared;
    if (value === null || value === undefined) {
      if (type !== declared) this.wrong.push(`${path} is null, and its type is ${declared}`);
      return;
    }
    if (isListType(type)) {
      if (!Array.isArray(value)) return void this.wrong.push(`${path} is no list`);
      return value.forEach((item, place) => this.value(type.ofType, nodes, item, `${path}.${place}`, parent, name));
    }
    if (isCompositeType(getNamedType(type))) {
      return this.object(type, nodes.map((node) => node.selectionSet), value, path);
    }
    const fits = isEnumType(type) ? type.getValue(value) : LEAVES[type.name]?.(value);
    if (!fits) this.wrong.push(`${path} is ${JSON.stringify(value)}, which is no ${type}`);
    this.seen(parent, name, value);
  }
}
