// What the page does inside GraphiQL's editors: it keeps the authorization header up to date, and looks up the ids that a
// tab of the story asks for.
import { pick, useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { parse } from 'jsonc-parser';
import { useEffect, useRef } from 'react';
import { ask } from './ask.js';
import { authorization, getSession, isMade } from './session.js';
import { useSession } from './useSession.js';

const nameIn = (headers) => Object.keys(headers).find((name) => name.toLowerCase() === 'authorization');

/** The headers with the session's own; undefined when they are to be left alone: what somebody wrote wins. */
function withToken(text) {
  const headers = text.trim() ? parse(text) : {};
  if (typeof headers !== 'object' || headers === null) return undefined;
  const name = nameIn(headers);
  if (text.trim() && !name) return undefined;
  if (name && !isMade(headers[name])) return undefined;
  const { [name]: _, ...rest } = headers;
  const now = authorization() ? { authorization: authorization(), ...rest } : rest;
  return Object.keys(now).length ? JSON.stringify(now, null, 2) : '';
}

export function KeepHeaders() {
  const editor = useGraphiQL((state) => state.headerEditor);
  const { tokens } = useSession();
  useEffect(() => {
    if (!editor) return undefined;
    const fill = () => {
      const text = withToken(editor.getValue());
      if (text !== undefined && text !== editor.getValue()) editor.setValue(text);
    };
    fill();
    // A flush is GraphiQL showing another tab; what somebody types is none. Other listeners have to hear of it before the
    // next one comes: Monaco's workers follow the changes in their order.
    const listener = editor.onDidChangeModelContent(({ isFlush }) => isFlush && queueMicrotask(fill));
    return () => listener.dispose();
  }, [editor, tokens?.accessToken]);
  return null;
}

/** Variables that are left "" and what they mean: the newest request that waits for the viewer, a client's account. */
const FINDS = {
  connectionId: ['{ viewer { accessRequests(first: 1) { nodes { id } } } }', ({ accessRequests }) => accessRequests.nodes[0]?.id],
  accountId: [
    '{ viewer { accounts { edges { node { id } via { id } } } } account { id } }',
    ({ accounts }, account) => accounts.edges.find(({ node, via }) => via && node.id !== account?.id)?.node.id,
  ],
};

async function find(name) {
  const [query, pick] = FINDS[name];
  const { data } = await ask(query, undefined, getSession().tokens?.accessToken);
  return (data?.viewer && pick(data.viewer, data.account)) ?? '';
}

export function FindIds() {
  const editor = useGraphiQL((state) => state.variableEditor);
  const { who } = useSession();
  const person = who?.user.id;
  const finders = useRef(new Map());
  useEffect(() => {
    if (!editor || !person) return undefined;
    let isBusy = false;
    const isOpen = (value) => value === '' || (finders.current.get(value) ?? person) !== person;
    const fill = async () => {
      const text = editor.getValue();
      const variables = parse(text) ?? {};
      // Only what is empty, or was found here for somebody else; an id that somebody pasted stays.
      const names = Object.keys(FINDS).filter((name) => isOpen(variables[name]));
      if (isBusy || !names.length) return;
      isBusy = true;
      for (const name of names) finders.current.set((variables[name] = await find(name)), person);
      if (editor.getValue() === text) editor.setValue(JSON.stringify(variables, null, 2));
      isBusy = false;
    };
    fill();
    const listener = editor.onDidChangeModelContent(({ isFlush }) => isFlush && fill());
    return () => listener.dispose();
  }, [editor, person]);
  return null;
}

/** Reads the schema again when somebody else is here, or acts elsewhere. */
export function FollowSession() {
  const { introspect } = useGraphiQLActions();
  const { who } = useSession();
  const last = useRef(null);
  useEffect(() => {
    const now = who && `${who.user.id} ${who.account?.id}`;
    if (last.current !== null && last.current !== now) introspect();
    last.current = now ?? '';
  }, [who, introspect]);
  return null;
}

/** Editors that show whole lines: in letters a little smaller than GraphiQL's, and where that is too long, going on below. */
export function WholeLines() {
  const editors = useGraphiQL(pick('queryEditor', 'variableEditor', 'responseEditor', 'headerEditor'));
  const { queryEditor, variableEditor, responseEditor, headerEditor } = editors;
  useEffect(() => {
    for (const editor of [queryEditor, variableEditor, responseEditor]) editor?.updateOptions({ fontSize: 13, wordWrap: 'on' });
    headerEditor?.updateOptions({ fontSize: 13 });
  }, [queryEditor, variableEditor, responseEditor, headerEditor]);
  return null;
}
