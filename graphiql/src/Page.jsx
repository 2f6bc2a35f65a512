import { GraphiQL } from 'graphiql';
import { useEffect, useState } from 'react';
import { Bar } from './Bar.jsx';
import { FindIds, FollowSession, KeepHeaders, WholeLines } from './Editors.jsx';
import { fetcher } from './fetcher.js';
import { getSession, hasLeft, look, resume, signIn } from './session.js';
import { storage } from './storage.js';
import { tabs } from './story.js';

const WITHOUT = { dev: false, people: [], password: null };

/** What the server tells this page about itself. In the demo, `people` are those whom one can be. */
async function readSettings() {
  const response = await fetch('/graphiql/settings.json').catch(() => null);
  return response?.ok ? response.json() : WITHOUT;
}

/** Goes on as who this tab was; in the demo as whom the link names, or else as the first of its people. */
async function begin() {
  const settings = await readSettings();
  const named = new URLSearchParams(location.hash.slice(1)).get('as');
  const wanted = settings.people.find(({ login }) => login === named);
  if (wanted) history.replaceState(null, '', location.pathname);
  else await resume();
  const person = wanted ?? (hasLeft() || getSession().tokens ? undefined : settings.people[0]);
  if (person) await signIn(person.login, settings.password);
  return settings;
}

export function Page() {
  const [settings, setSettings] = useState(null);
  useEffect(() => {
    begin().then(setSettings);
    // What became of one in the meantime shows when one comes back to this browser tab.
    const back = () => document.visibilityState === 'visible' && look();
    document.addEventListener('visibilitychange', back);
    return () => document.removeEventListener('visibilitychange', back);
  }, []);
  return (
    <>
      <Bar settings={settings ?? WITHOUT} isReady={Boolean(settings)} />
      <main>
        {settings && (
          <GraphiQL
            fetcher={fetcher}
            storage={storage}
            defaultTabs={tabs}
            defaultEditorToolsVisibility="variables"
            showPersistHeadersSettings={false}
          >
            <GraphiQL.Logo> </GraphiQL.Logo>
            <KeepHeaders />
            <FindIds />
            <FollowSession />
            <WholeLines />
          </GraphiQL>
        )}
      </main>
    </>
  );
}
