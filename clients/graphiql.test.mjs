// GraphiQL as a person meets it, in a real browser: the demo's story, and that the page keeps to its policy (R2, R3).
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { start } from './server.mjs';

const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const IVY = 'ivy@moonrise-candles.example';
const AGENCY = 'Bright Harbor Marketing';

let server, browser, root;
let faults = [];
before(async () => {
  server = await start();
  root = new URL('/', server.url).href;
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', ...QUIET] });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  const found = faults;
  faults = [];
  assert.deepEqual(found, [], 'no request to another host, no error, nothing against the policy');
});

/** A browser of its own, which notes whatever a page or a worker does that it should not. */
async function visitor() {
  const context = await browser.newContext({ viewport: { width: 1360, height: 820 } });
  context.setDefaultTimeout(15_000);
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== 'data:' && `${origin}/` !== root) faults.push(`asked ${request.url()}`);
  });
  context.on('response', (response) => response.status() < 400 || faults.push(`${response.status()} ${response.url()}`));
  context.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  context.on('weberror', (event) => faults.push(event.error().stack));
  await context.exposeFunction('noteViolation', (text) => faults.push(text));
  await context.addInitScript(() => addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
    noteViolation(`${violatedDirective} forbids ${blockedURI}`)));
  return context;
}

async function open(path = '', context = undefined) {
  const page = await (context ?? (await visitor())).newPage();
  await page.goto(root + path);
  await page.locator('.graphiql-query-editor .view-line').first().waitFor();
  return page;
}

const bar = (page, text) => page.getByRole('banner').getByText(text, { exact: true }).first().waitFor();
/** A menu closes when what was chosen in it is done; its own lists have the names that the bar has. */
const isDone = (page) => page.locator('.menu:popover-open').waitFor({ state: 'hidden' });
const isReading = (page, name) => page.locator('.graphiql-tab-button').filter({ hasText: name }).click();
const press = (page) => page.getByRole('button', { name: /^(Execute query|Stop query)/ }).click();

/** What stands in the answer pane once something does. */
async function answer(page) {
  const read = () => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.includes('response')).getValue();
  return JSON.parse(await (await page.waitForFunction(read)).jsonValue());
}

async function run(page) {
  await press(page);
  return answer(page);
}

/** Starts the subscription of the tab; answers its socket once the server was asked for it. */
async function listen(page) {
  await isReading(page, 'Listen');
  const socket = new Promise((resolve) => page.once('websocket', (opened) =>
    opened.on('framesent', ({ payload }) => payload.includes('"subscribe"') && resolve(opened))));
  await press(page);
  return socket;
}

/** The variables once the id that was left open is filled in. */
async function filled(page) {
  const read = () => {
    const text = globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.includes('variables')).getValue();
    return /Id": "\w+"/.test(text) && text;
  };
  return JSON.parse(await (await page.waitForFunction(read)).jsonValue());
}

async function become(page, name) {
  await page.getByRole('button', { name: 'Grace Okafor', exact: true }).click();
  await page.getByRole('button', { name: new RegExp(`^${name}`) }).click();
  await isDone(page);
  await bar(page, name);
}

async function switchTo(page, name) {
  await page.getByRole('banner').locator('[popovertarget="accounts"]').click();
  await page.getByRole('searchbox', { name: 'Search accounts' }).fill(name.split(' ')[0].toLowerCase());
  await page.getByText('1 account found').waitFor();
  await page.locator('#accounts').getByRole('button', { name }).click();
  await isDone(page);
  await bar(page, name);
}

test('the first tab tells who one is, as the bar does', async () => {
  const page = await open();
  await bar(page, AGENCY);
  await bar(page, 'Owner');
  const { data, errors } = await run(page);
  assert.equal(errors, undefined);
  assert.deepEqual(data.viewer.user, { name: 'Grace Okafor', email: 'grace@bright-harbor.example' });
  assert.equal(data.viewer.level, 'OWNER');
  assert.equal(data.account.name, AGENCY);
});

test('each tab of the story runs as the person that it names', async () => {
  const page = await open();
  for (const name of ['WhoAmI', 'People', 'Invite', 'AskClients', 'Explain', 'AuditLog', 'RoleMatrix', 'Switch']) {
    await isReading(page, name);
    if (name === 'Switch') await filled(page);
    const { data, errors } = await run(page);
    assert.equal(errors, undefined, name);
    for (const value of Object.values(data)) {
      assert.ok(value, name);
      assert.deepEqual(value.userErrors ?? [], [], name);
    }
  }
  await page.getByRole('banner').getByText(`through ${AGENCY}, up to`).waitFor();
});

test('in a client’s account the bar tells through whom, and the next answer too', async () => {
  const page = await open();
  await switchTo(page, 'Harvest Table Foods');
  await bar(page, `through ${AGENCY}, up to Admin`);
  const { viewer, account } = (await run(page)).data;
  assert.deepEqual(viewer.via, { agency: { name: AGENCY }, level: 'ADMIN' });
  assert.equal(account.name, 'Harvest Table Foods');
  await isReading(page, 'Explain');
  assert.equal((await run(page)).data.viewer.inviteUsers.allowed, false);
  await switchTo(page, AGENCY);
  assert.equal((await run(page)).data.viewer.inviteUsers.allowed, true);
});

test('one becomes somebody else, signs out, and signs in with a password', async () => {
  const page = await open();
  await become(page, 'Daniel Reyes');
  await bar(page, 'Admin');
  assert.equal((await run(page)).data.viewer.user.name, 'Daniel Reyes');

  await page.getByRole('button', { name: 'Daniel Reyes', exact: true }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await bar(page, 'Nobody is signed in');
  await page.reload();
  await bar(page, 'Nobody is signed in');
  assert.equal((await run(page)).data.viewer, null);

  await page.getByRole('banner').getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByText('Sign in with a password').click();
  await page.getByLabel('E-mail address or username').fill('maya@bright-harbor.example');
  for (const [password, then] of [['wrong', 'The login or the password is wrong.'], ['harbor lights at dawn', 'Maya Lindqvist']]) {
    await page.locator('#person').getByLabel('Password', { exact: true }).fill(password);
    await page.locator('#person').getByRole('button', { name: 'Sign in', exact: true }).click();
    await bar(page, then);
  }
  await isDone(page);
  assert.equal((await run(page)).data.viewer.level, 'MANAGER');
});

test('a header that somebody wrote wins over the session', async () => {
  const page = await open();
  const token = await server.signIn('leo@bright-harbor.example');
  await page.getByRole('button', { name: 'Headers' }).click();
  await page.evaluate(
    (text) => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.includes('headers')).setValue(text),
    JSON.stringify({ Authorization: `Bearer ${token}` }),
  );
  assert.equal((await run(page)).data.viewer.user.name, 'Leo Fontaine');
  await switchTo(page, 'Harvest Table Foods');
  assert.equal((await run(page)).data.viewer.user.name, 'Leo Fontaine');
});

test('a subscription hears what happens elsewhere, and stops', async () => {
  const page = await open();
  const socket = await listen(page);
  const token = await server.signIn(IVY);
  const { viewer } = await server.ask('{ viewer { accessRequests { nodes { id } } } }', token);
  const input = `{connectionId: "${viewer.accessRequests.nodes[0].id}", level: AUTHOR}`;
  await server.ask(`mutation { approveClientRequest(input: ${input}) { userErrors { code } } }`, token);
  const { event, connection } = (await answer(page)).data.clientConnectionChanged;
  assert.equal(event.kind, 'CLIENT_ACCESS_APPROVED');
  assert.deepEqual(connection, { status: 'ACTIVE', level: 'AUTHOR', client: { name: 'Moonrise Candles' } });
  const closed = socket.waitForEvent('close');
  await press(page);
  await closed;
});

test('two browser tabs act as two people in two accounts', async () => {
  const context = await visitor();
  const grace = await open('', context);
  const omar = await open('#as=omar%40granville-auto.example', context);
  await bar(omar, 'Granville Auto Repair');
  await switchTo(grace, 'Harvest Table Foods');
  assert.equal((await run(omar)).data.account.name, 'Granville Auto Repair');
  assert.equal((await run(grace)).data.account.name, 'Harvest Table Foods');
  await isReading(omar, 'Answer');
  assert.match((await filled(omar)).connectionId, /^connection_/);
  assert.equal((await run(omar)).data.approveClientRequest.connection.client.name, 'Granville Auto Repair');
});

test('a session that was ended elsewhere is told, with the way on', async () => {
  const page = await open();
  await bar(page, AGENCY);
  await listen(page);
  const token = await page.evaluate(() => JSON.parse(sessionStorage.getItem('keyholder:session')).accessToken);
  await server.ask('mutation { signOut { signedOut } }', token);
  assert.match((await answer(page)).errors[0].message, /session.* has ended/);
  await bar(page, 'Your session has ended.');
  await isReading(page, 'WhoAmI');
  await page.getByRole('button', { name: 'Sign in again' }).click();
  await page.getByRole('button', { name: /^Grace Okafor/ }).click();
  await isDone(page);
  assert.equal((await run(page)).data.viewer.user.name, 'Grace Okafor');
});

test('access that a client ends is told, with the way to another account', async () => {
  const page = await open();
  await switchTo(page, 'Harvest Table Foods');
  const nina = await server.signIn('nina@harvest-table.example');
  const { account } = await server.ask('{ account { agencyConnections(status: ACTIVE) { nodes { id } } } }', nina);
  const [{ id }] = account.agencyConnections.nodes;
  await server.ask(`mutation { endClientConnection(input: {connectionId: "${id}"}) { userErrors { code } } }`, nina);
  assert.equal((await run(page)).errors[0].extensions.code, 'ACCOUNT_ACCESS_ENDED');
  await bar(page, 'Your access to the account that you acted in has ended.');
  await page.getByRole('button', { name: 'Choose another account' }).click();
  await page.locator('#accounts').getByRole('button', { name: AGENCY }).filter({ hasText: /Owner$/ }).click();
  await isDone(page);
  await bar(page, AGENCY);
  assert.equal((await run(page)).data.account.name, AGENCY);
});
