// Sends one request over each way there is, and hands back what came, unread: the status, the headers, the text.
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import WebSocket from 'ws';

/** The longest that an answer may take. */
const LIMIT = 15_000;
/** How long a subscription is listened to. */
const LISTEN = 150;

const PLAIN = { gzip: gunzipSync, br: brotliDecompressSync };

const agent = new Agent({ keepAlive: true, maxSockets: 32 });
export const hangUp = () => agent.destroy();

/** Any HTTP request; `until(text)` may end the reading before the body does. One that is `alone` has its own connection. */
export function http(base, { method = 'POST', path = '/graphql', headers = {}, body, alone }, until) {
  return new Promise((resolve, reject) => {
    // Without its length the body of a GET would pass for another request.
    const length = body && { 'content-length': Buffer.byteLength(body) };
    const sent = request(base, { method, path, headers: { ...headers, ...length }, agent: alone ? false : agent, setHost: !('host' in headers) });
    const late = setTimeout(() => sent.destroy(new Error('no answer in time')), LIMIT);
    sent.on('error', (error) => {
      clearTimeout(late);
      // A server that has refused a body need not read the rest of it, so that its answer may be lost with the connection.
      if (length?.['content-length'] > 1024 * 1024 && ['EPIPE', 'ECONNRESET'].includes(error.code)) resolve(undefined);
      else reject(error);
    });
    sent.on('response', (response) => {
      const chunks = [];
      const done = () => {
        clearTimeout(late);
        clearTimeout(enough);
        const plain = PLAIN[response.headers['content-encoding']] ?? ((bytes) => bytes);
        resolve({ status: response.statusCode, headers: response.headers, text: plain(Buffer.concat(chunks)).toString() });
      };
      const enough = until && setTimeout(() => { done(); response.destroy(); }, LISTEN);
      response.on('data', (chunk) => {
        chunks.push(chunk);
        if (until?.(Buffer.concat(chunks).toString())) { done(); response.destroy(); }
      });
      response.on('end', done).on('error', done);
    });
    sent.end(body);
  });
}

/** The payloads of the `next` events of a stream. */
export const events = (text) => text.split('\n\n').filter((event) => /^event: next$/m.test(event)).map((event) => JSON.parse(/^data: ?([^\n]*)/m.exec(event)[1]));

/** The payloads of the parts of a multipart body, those that end it included; what is cut off at its end does not count. */
export const parts = (text) => text.split('\r\n---').slice(0, -1).map((part) => part.split('\r\n\r\n')[1]).filter(Boolean)
  .map((json) => JSON.parse(json)).filter((part) => 'payload' in part).map(({ payload, errors }) => payload ?? { errors });

/**
 * Speaks over a WebSocket: opens it, sends the messages (a function makes the next one from what was heard), and hands
 * back what was heard and how it closed. `enough(message)` ends it.
 */
export function socket(base, messages, enough = () => false, listens = false) {
  return new Promise((resolve) => {
    const heard = [];
    const ws = new WebSocket(`${base.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    let listening;
    const late = setTimeout(() => { heard.push({ type: 'no answer in time' }); ws.terminate(); }, LIMIT);
    ws.on('open', () => messages.forEach((message) => ws.send(message)));
    ws.on('message', (text) => {
      const message = JSON.parse(text.toString());
      heard.push(message);
      if (listens && message.type === 'connection_ack') listening = setTimeout(() => ws.close(1000), LISTEN);
      if (enough(message)) ws.close(1000);
    });
    ws.on('unexpected-response', (_, response) => { heard.push({ type: 'refused', status: response.statusCode }); ws.terminate(); });
    ws.on('error', () => {});
    ws.on('close', (code, reason) => {
      clearTimeout(late);
      clearTimeout(listening);
      resolve({ heard, code, reason: reason.toString() });
    });
  });
}

/** Writes bytes to a connection of its own and hands back all that comes until it ends; `hangsUp` ends our side at once. */
export function raw(base, bytes, hangsUp) {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(base);
    const chunks = [];
    const connection = connect(Number(port), hostname, () => (hangsUp ? connection.end(bytes) : connection.write(bytes)));
    const late = setTimeout(() => { chunks.push(Buffer.from('no end in time')); connection.destroy(); }, LIMIT);
    connection.on('data', (chunk) => chunks.push(chunk));
    // A server that has refused need not read what is left: the connection is reset then.
    connection.on('error', () => {});
    connection.on('close', () => { clearTimeout(late); resolve(Buffer.concat(chunks)); });
  });
}
