// Who asks: nobody, people of the demo at several levels, one of them in a client's account, and bearers of tokens that are none.

const PEOPLE = ['grace@bright-harbor.example', 'daniel@bright-harbor.example', 'leo@bright-harbor.example', 'ivy@moonrise-candles.example', 'omar@granville-auto.example', 'nina@harvest-table.example', 'jonas@harvest-table.example'];

/** Signs everyone in; `anyone(chance)` then answers a person with a `token`, and `renew` gives them a new one. */
export async function gather(server, logins = PEOPLE) {
  const people = await Promise.all(logins.map(async (login) => ({ name: login, token: await server.signIn(login), renew: () => server.signIn(login) })));
  const visitor = async () => into(server, await server.signIn(logins[0]));
  const stale = await server.signIn(logins[0]);
  await server.ask('mutation { signOut { signedOut } }', stale);
  const others = [
    { name: 'nobody' },
    { name: 'who signed out', token: stale },
    { name: 'a forger', token: stale.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) },
    { name: 'garbage', token: 'garbage' },
    { name: 'an unknown key', token: `kh_${'x'.repeat(43)}` },
  ];
  const all = [...people, { name: `${logins[0]} at a client`, token: await visitor(), renew: visitor }];
  return {
    all,
    anyone: (chance) => (chance.odds(0.85) ? chance.pick(all) : chance.pick(others)),
    /**
     * A sign-out that chance made ended this one's session: they sign in again, once for all who noticed. Who erased themselves, or
     * whom chance gave another password, has no other one.
     */
    renew: (person) => {
      person.renewing ??= person.renew().catch(() => undefined).then((token) => { person.token = token ?? person.token; if (!token) person.renew = undefined; }).finally(() => { person.renewing = undefined; });
      return person.renewing;
    },
  };
}

async function into(server, token) {
  const { viewer } = await server.ask('{ viewer { accounts(first: 30) { edges { via { id } node { id } } } } }', token);
  const client = viewer.accounts.edges.find(({ via }) => via);
  if (!client) return token;
  const { switchAccount } = await server.ask(`mutation { switchAccount(input: {accountId: "${client.node.id}"}) { credentials { accessToken } } }`, token);
  return switchAccount.credentials.accessToken;
}
