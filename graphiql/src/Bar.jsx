// The bar above GraphiQL: who acts, in which account, at which level, and through whom.
import { AccountMenu } from './AccountMenu.jsx';
import { PersonMenu } from './PersonMenu.jsx';
import { dismiss, look } from './session.js';
import { useSession } from './useSession.js';
import { levelName } from './words.js';

const open = (id) => () => document.getElementById(id)?.showPopover();

const WAYS = {
  'sign-in': ['Sign in again', open('person')],
  switch: ['Choose another account', open('accounts')],
  look: ['Try again', () => look()],
  stay: ['Close', dismiss],
};

export function Bar({ settings, isReady }) {
  const { who, notice, tokens } = useSession();
  const [label, go] = WAYS[notice?.way] ?? [];
  return (
    <header className="bar">
      <div className="bar-row">
        <Brand />
        {who ? <Acting who={who} /> : isReady && !tokens && <span className="bar-quiet">Nobody is signed in</span>}
        <nav className="bar-end">
          {settings.dev && <a href="/mailbox" target="_blank" rel="noopener">Mailbox</a>}
          {isReady && <PersonMenu settings={settings} />}
        </nav>
      </div>
      <div role="alert">
        {notice && (
          <p className="notice">
            <span>{notice.text}</span>
            <button type="button" onClick={go}>{label}</button>
          </p>
        )}
      </div>
    </header>
  );
}

function Acting({ who: { account, level, via } }) {
  return (
    <div className="acting">
      <AccountMenu current={account} />
      {level && <span className="level" data-level={level}>{levelName(level)}</span>}
      {via && <span className="via">through {via.agency.name}, up to {levelName(via.level)}</span>}
    </div>
  );
}

function Brand() {
  return (
    <span className="brand">
      <svg viewBox="0 0 16 16" width="18" height="18" fill="none" stroke="currentColor" strokeWidth="1.8" aria-hidden="true">
        <circle cx="4.5" cy="8" r="3.2" />
        <path d="M7.7 8H15v3.2M12 8v2.2" />
      </svg>
      <span>Keyholder</span>
    </span>
  );
}
