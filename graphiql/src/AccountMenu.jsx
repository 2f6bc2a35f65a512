import { useEffect, useState } from 'react';
import { ask } from './ask.js';
import { Menu } from './Menu.jsx';
import { getSession, switchAccount } from './session.js';
import { levelName } from './words.js';

const ACCOUNTS = `query($search: String, $after: String) {
  viewer { accounts(first: 20, search: $search, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { id name } level via { id level agency { name } } }
  } }
}`;

export function AccountMenu({ current }) {
  const label = current ? current.name : 'Choose an account';
  return (
    <Menu id="accounts" className="at-start" label={label} title="Act in another account">
      {(close) => <Accounts current={current} close={close} />}
    </Menu>
  );
}

/** The accounts that one can switch to, searched for and turned over by the server: an agency may have thousands. */
function Accounts({ current, close }) {
  const [search, setSearch] = useState('');
  const [list, setList] = useState(null);
  const [problem, setProblem] = useState('');

  const load = async (after, isWanted = () => true) => {
    const { data, errors } = await ask(ACCOUNTS, { search: search || null, after }, getSession().tokens?.accessToken);
    if (!isWanted()) return;
    const page = data?.viewer?.accounts;
    if (!page) return setProblem(errors?.[0].message ?? 'Sign in again.');
    setProblem('');
    setList((before) => (after ? { ...page, edges: [...before.edges, ...page.edges] } : page));
  };

  useEffect(() => {
    let isLatest = true;
    const timer = setTimeout(() => load(null, () => isLatest), search ? 150 : 0);
    return () => { isLatest = false; clearTimeout(timer); };
  }, [search]);

  const choose = async ({ node, via }) => {
    const errors = await switchAccount(node.id, via?.id);
    if (errors.length) setProblem(errors[0].message);
    else close();
  };

  return (
    <>
      <input
        type="search"
        aria-label="Search accounts"
        placeholder="Search accounts"
        value={search}
        onChange={({ target }) => setSearch(target.value)}
      />
      <p className="count" role="status">{problem || (list && counted(list.totalCount, search))}</p>
      <ul>
        {list?.edges.map((edge) => (
          <li key={`${edge.node.id} ${edge.via?.id}`}>
            <button type="button" className="choice" aria-current={edge.node.id === current?.id} onClick={() => choose(edge)}>
              <span>{edge.node.name}</span>
              <small>{levelName(edge.level)}{edge.via && ` through ${edge.via.agency.name}`}</small>
            </button>
          </li>
        ))}
      </ul>
      {list?.pageInfo.hasNextPage && (
        <button type="button" className="more" onClick={() => load(list.pageInfo.endCursor)}>Show more</button>
      )}
    </>
  );
}

const counted = (count, search) => `${count} ${count === 1 ? 'account' : 'accounts'}${search && ' found'}`;
