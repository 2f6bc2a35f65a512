import { useEffect } from 'react';
import { SignInForm, SignUpForm } from './forms.jsx';
import { Menu } from './Menu.jsx';
import { signIn, signOut, tell } from './session.js';
import { useSession } from './useSession.js';
import { levelName } from './words.js';

export function PersonMenu({ settings }) {
  const { who, tokens } = useSession();
  useEffect(() => {
    if (!tokens && !settings.people.length) document.getElementById('person').showPopover();
  }, []);
  return (
    <Menu id="person" className="at-end" label={who ? who.user.name : 'Sign in'} title={who ? 'Be somebody else' : undefined}>
      {(close) => (
        <>
          {who && <Person who={who} close={close} />}
          <People settings={settings} current={who?.user.email} close={close} />
          <details open={!who && !settings.people.length}>
            <summary>{who ? 'Sign in as somebody else' : 'Sign in with a password'}</summary>
            <SignInForm onDone={close} />
          </details>
          <details>
            <summary>Sign up</summary>
            <SignUpForm dev={settings.dev} onDone={close} />
          </details>
        </>
      )}
    </Menu>
  );
}

function Person({ who: { user }, close }) {
  return (
    <div className="person">
      <div>
        <strong>{user.name}</strong>
        <small>{user.email}</small>
      </div>
      <button type="button" onClick={() => { close(); signOut(); }}>Sign out</button>
    </div>
  );
}

/** In the demo, everyone whom one can be: here, or in a browser tab of their own beside this one. */
function People({ settings: { people, password }, current, close }) {
  const become = async ({ login }) => {
    const [error] = await signIn(login, password);
    close();
    if (error) tell(error.message);
  };
  if (!people.length) return null;
  return (
    <section>
      <h2>Become somebody of the demo</h2>
      <ul>
        {people.map((person) => (
          <li key={person.login}>
            <button type="button" className="choice" aria-current={person.login === current} onClick={() => become(person)}>
              <span>{person.name}</span>
              <small>{levelName(person.level)}, {person.account}</small>
            </button>
            <a
              href={`#as=${encodeURIComponent(person.login)}`}
              target="_blank"
              rel="noopener"
              title="In a new browser tab"
              aria-label={`Become ${person.name} in a new browser tab`}
            >
              ↗
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
