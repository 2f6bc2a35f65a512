// The pages that links in e-mails open, in a real browser: verifying an address, taking a login back, stopping a change, joining, undoing a transfer.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { start } from './server.mjs';

const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const MINE = 'a long walk by the sea';
const THEIRS = 'another long walk by the sea';

let server, browser, base;
before(async () => {
  server = await start();
  base = new URL(server.url).origin;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', ...QUIET] });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the link in the latest mail of a kind to an address, in a browser that is signed in nowhere. */
async function follow(address, kind) {
  const context = await browser.newContext();
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  await page.goto((await mailed(address, kind)).match(/http\S+#token=\S+/)[0]);
  return page;
}

async function mailed(address, kind) {
  for (let tries = 0; tries < 200; tries += 1) {
    const mails = await (await fetch(`${base}/mailbox.json`)).json();
    const mail = mails.find((mail) => mail.to === address && mail.kind === kind);
    if (mail) return mail.text;
    await new Promise((resume) => setTimeout(resume, 50));
  }
  throw new Error(`no ${kind} to ${address}`);
}

const signUp = (email) =>
  server.ask(`mutation { signUp(input: {email: "${email}", password: "${MINE}", name: "x"}) { credentials { accessToken } userErrors { code } } }`)
    .then(({ signUp: { credentials } }) => credentials.accessToken);
const signIn = (login, password) =>
  server.ask(`mutation { signIn(input: {login: "${login}", password: "${password}"}) { account { name } userErrors { code } } }`).then(({ signIn }) => signIn);
const says = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor();

test('an address is verified with the password, after a wrong one was told', async () => {
  await signUp('ann@links.example');
  const page = await follow('ann@links.example', 'verify_email');
  await page.getByLabel('Password').fill('not it at all');
  await page.getByRole('button', { name: 'Verify my address' }).click();
  await says(page, 'This is not the password of the login.');
  await page.getByLabel('Password').fill(MINE);
  await page.getByRole('button', { name: 'Verify my address' }).click();
  await says(page, 'The address ann@links.example is verified.');
  assert.equal(page.url(), `${base}/verify-email`, 'the token is gone');
});

test('a person who chose no password takes the login from a stranger', async () => {
  const stranger = await signUp('victim@links.example');
  const page = await follow('victim@links.example', 'verify_email');
  await page.getByRole('button', { name: 'I did not choose a password' }).click();
  await says(page, 'a link to choose a password is on its way');
  const reset = await follow('victim@links.example', 'reset_password');
  await reset.getByLabel('New password').fill(THEIRS);
  await reset.getByRole('button', { name: 'Take this password' }).click();
  await says(reset, 'You have a new password.');
  await assert.rejects(server.ask('{ viewer { level } }', stranger), /UNAUTHENTICATED/);
  assert.deepEqual((await signIn('victim@links.example', MINE)).userErrors, [{ code: 'WRONG_CREDENTIALS' }]);
  assert.deepEqual((await signIn('victim@links.example', THEIRS)).userErrors, []);
});

test('a change of address is stopped, and a new password offered', async () => {
  const token = await server.signIn('leo@bright-harbor.example');
  await server.ask('mutation { changeEmail(input: {email: "leo@elsewhere.example"}) { userErrors { code } } }', token);
  const page = await follow('leo@bright-harbor.example', 'email_change_requested');
  await page.getByRole('button', { name: 'Stop the change' }).click();
  await says(page, 'The change is stopped.');
  await page.getByRole('button', { name: 'Send me the link' }).click();
  await says(page, 'A link to choose a new password is on its way');
  await mailed('leo@bright-harbor.example', 'reset_password');
  const { viewer } = await server.ask('{ viewer { pendingEmail } }', token);
  assert.equal(viewer.pendingEmail, null);
});

test('an invited Admin joins with the verification, and only with the invited address', async () => {
  const owner = await server.signIn('grace@bright-harbor.example');
  await server.ask('mutation { inviteUsers(input: {emails: ["adam@links.example"], level: ADMIN}) { userErrors { code } } }', owner);
  const page = await follow('adam@links.example', 'invitation');
  await page.getByText('Only the invited address can join as Admin').waitFor();
  const form = page.locator('#sign-up');
  assert.equal(await form.getByLabel('E-mail address').getAttribute('readonly'), '');
  await form.getByLabel('Your name').fill('Adam Long');
  await form.getByLabel('Password').fill(MINE);
  await form.getByRole('button', { name: 'Join' }).click();
  await says(page, 'then you join Bright Harbor Marketing as Admin');
  assert.equal((await signIn('adam@links.example', MINE)).account, null);
  const verify = await follow('adam@links.example', 'verify_email');
  await verify.getByLabel('Password').fill(MINE);
  await verify.getByRole('button', { name: 'Verify my address' }).click();
  await says(verify, 'You have joined Bright Harbor Marketing as Admin.');
  assert.equal((await signIn('adam@links.example', MINE)).account.name, 'Bright Harbor Marketing');
});

test('an Owner undoes the transfer that an Admin made', async () => {
  const owner = await server.signIn('grace@bright-harbor.example');
  await server.ask('mutation { inviteUsers(input: {emails: ["bert@links.example"], level: ADMIN}) { userErrors { code } } }', owner);
  const [, token] = (await mailed('bert@links.example', 'invitation')).match(/#token=(\S+)/);
  await server.ask(`mutation { signUp(input: {email: "bert@links.example", password: "${MINE}", name: "Bert", invitationToken: "${token}"}) { user { id } userErrors { code } } }`);
  const verify = await follow('bert@links.example', 'verify_email');
  await verify.getByLabel('Password').fill(MINE);
  await verify.getByRole('button', { name: 'Verify my address' }).click();
  await says(verify, 'You have joined Bright Harbor Marketing as Admin.');
  const admin = await server.signIn('daniel@bright-harbor.example');
  const { account } = await server.ask('{ account { users(search: "bert") { nodes { user { id } } } } }', admin);
  const [{ user }] = account.users.nodes;
  const transfer = `mutation { transferOwnership(input: {userId: "${user.id}"}) { account { owner { id } } userErrors { code } } }`;
  assert.equal((await server.ask(transfer, admin)).transferOwnership.account.owner.id, user.id);
  const page = await follow('grace@bright-harbor.example', 'ownership_transferred');
  assert.equal((await server.ask('{ viewer { level } }', owner)).viewer.level, 'ADMIN', 'opening a link changes nothing');
  await page.getByRole('button', { name: 'Undo the transfer' }).click();
  await says(page, 'You are the Owner of Bright Harbor Marketing again.');
  assert.equal(page.url(), `${base}/undo-transfer`, 'the token is gone');
  for (const [token, level] of [[owner, 'OWNER'], [admin, 'MANAGER']]) assert.equal((await server.ask('{ viewer { level } }', token)).viewer.level, level);
});
