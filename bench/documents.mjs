// What is made to bring a server down, each with its number of the list of threats where it has one; all must be refused.

const deep = (open, close) => open.repeat(2_000) + close.repeat(2_000);
const levels = (count, times, end = 'planTerms { plan }') => {
  const fragments = Array.from({ length: count }, (_, n) => `fragment F${n} on Query{${`...F${n + 1} `.repeat(times)}}`);
  return `${fragments.join('')}fragment F${count} on Query{${end}}`;
};
const many = (count, each) => Array.from({ length: count }, (_, n) => each(n)).join(' ');
const uses = (count) => `query ($ids: [ID!]!) { ${many(count, (n) => `a${n}: nodes(ids: $ids) { id }`)} }`;

/** By name, the document, or a whole request where it has variables. */
export const DOCUMENTS = {
  '1 deep argument': `{ node(id: ${deep('[', ']')}) { id } }`,
  '1 deep default': `query ($x: [ID!] = ${deep('[', ']')}) { planTerms { plan } }`,
  '1 deep directive': `{ planTerms @include(if: ${deep('[', ']')}) { plan } }`,
  '1 deep object': `{ node(id: ${'{a:'.repeat(2_000)}1${'}'.repeat(2_000)}) { id } }`,
  '1 deep, strings': `{ node(id: ["\\"" """\\""" " """ ${deep('[', ']')}]) { id } }`,
  '2 doubling, 22': `{ ...F0 }${levels(22, 2)}`,
  '2 doubling, 26': `{ ...F0 }${levels(26, 2)}`,
  '2 doubling, 30': `{ ...F0 }${levels(30, 2)}`,
  '2 doubling, unused': `{ planTerms { plan } }${levels(26, 2)}`,
  '3 twelve, 6 levels': `{ ...F0 }${levels(6, 12)}`,
  '3 twelve, unused': `{ planTerms { plan } }${levels(6, 12)}`,
  '4 cycle': '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
  '4 cycle, unused': '{ planTerms { plan } } fragment A on Query { ...B } fragment B on Query { ...A }',
  '5 on operation': `query ${'@a '.repeat(10_000)}{ planTerms { plan } }`,
  '5 on field': `{ planTerms ${'@a '.repeat(10_000)}{ plan } }`,
  '5 on spread': `{ ...F ${'@a '.repeat(10_000)}} fragment F on Query { planTerms { plan } }`,
  '5 on fragment': `{ ... ${'@a '.repeat(10_000)}{ planTerms { plan } } }`,
  '5 below the limit': `{ planTerms ${'@a '.repeat(980)}{ plan } }`,
  '6 fields': `{ ${many(5_000, (n) => `x${n}`)} }`,
  '6 below the limit': `{ ${many(980, (n) => `x${n}`)} }`,
  '6 unused fragments': `{ planTerms { plan } } ${many(5_000, (n) => `fragment F${n} on Query{x}`).slice(0, 30_000)} }`,
  '6 unused, below': `{ planTerms { plan } } ${many(270, (n) => `fragment F${n} on Query{x}`)}`,
  '7 aliases': `{ ${many(1_000, (n) => `a${n}: planTerms { plan }`)} }`,
  '7 repeated fields': `{ ${'x '.repeat(10_000)} }`,
  // The document is short; what it multiplies comes beside it.
  'variable, 60 KB': { query: uses(130), variables: { ids: Array(14_000).fill('a') } },
  'variable, 200 KB': { query: uses(130), variables: { ids: Array(50_000).fill('a') } },
};
