// Stands in for prettier's Babel and ESTree plugins, of which GraphiQL needs only that they format JSON with comments.
import { applyEdits, format } from 'jsonc-parser';

const parse = (text) => ({ text: applyEdits(text, format(text, undefined, { insertSpaces: true, tabSize: 2 })) });
export const parsers = { jsonc: { parse, astFormat: 'formatted', locStart: () => 0, locEnd: ({ text }) => text.length } };
export const printers = { formatted: { print: ({ node }) => node.text } };
