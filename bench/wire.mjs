// HTTP/1.1 and WebSocket by hand over `net`: bytes that are made once and sent often, so that the load costs the machine that
// it shares with the server as little as can be; and so that a client can be as slow as no library lets it.
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';

const GRAPHQL = 'application/graphql-response+json';

function request(line, headers, body = '') {
  const lines = [line, 'host: 127.0.0.1', ...headers];
  if (body) lines.push('content-type: application/json', `content-length: ${Buffer.byteLength(body)}`);
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

const headers = ({ token, accept = GRAPHQL } = {}) => [`accept: ${accept}`, ...(token ? [`authorization: Bearer ${token}`] : [])];

const asked = (query) => (typeof query === 'string' ? { query } : query);

/** A document, or a whole request as an object, by POST. */
export const post = (query, options) => request('POST /graphql HTTP/1.1', headers(options), JSON.stringify(asked(query)));

/** A document by GET. */
export const get = (query, options) => request(`GET /graphql?query=${encodeURIComponent(query)} HTTP/1.1`, headers(options));

/** A page. */
export const page = (path) => request(`GET ${path} HTTP/1.1`, []);

/** The request that opens a WebSocket. The key may be any: nobody checks the answer to it here. */
export const upgrade = request('GET /graphql HTTP/1.1', ['connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13',
  'sec-websocket-key: a2V5aG9sZGVyIGJlbmNoLg==', 'sec-websocket-protocol: graphql-transport-ws']);

/** A text frame. A client must mask, with a key that may be zero, which leaves the text as it is. */
export function frame(message, opcode = 1) {
  const text = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message));
  if (text.length > 0xffff) throw new Error('too long for a frame of this client');
  const long = text.length > 125;
  const head = Buffer.alloc(long ? 8 : 6);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | (long ? 126 : text.length);
  if (long) head.writeUInt16BE(text.length, 2);
  return Buffer.concat([head, text]);
}

export const init = (token) => frame({ type: 'connection_init', payload: token ? { authorization: `Bearer ${token}` } : {} });
export const subscribe = (id, query) => frame({ type: 'subscribe', id, payload: asked(query) });

/** One connection that is kept, with one request at a time. Opened when it is needed. */
export class Http {
  constructor(port) { this.port = port; }

  /** Sends the bytes of a request; answers its status, body, and milliseconds. */
  ask(bytes) {
    return new Promise((resolve, reject) => {
      if (!this.socket) this.#open();
      this.received = [];
      this.settle = { resolve, reject, at: performance.now() };
      this.socket.write(bytes);
    });
  }

  end() { this.socket?.destroy(); }

  #open() {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    socket.on('data', (chunk) => this.#hear(chunk));
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.socket = undefined;
      this.settle?.reject(new Error('the connection was closed'));
      this.settle = undefined;
    });
    this.socket = socket;
  }

  #hear(chunk) {
    this.received.push(chunk);
    const bytes = this.received.length > 1 ? Buffer.concat(this.received) : chunk;
    this.received = [bytes];
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0 || !this.settle) return;
    const head = bytes.latin1Slice(0, end);
    const length = /\r\ncontent-length: (\d+)/i.exec(head);
    const whole = length ? bytes.length >= end + 4 + Number(length[1]) : bytes.subarray(-5).latin1Slice() === '0\r\n\r\n';
    if (!whole) return;
    const { resolve, at } = this.settle;
    this.settle = undefined;
    resolve({ status: Number(head.slice(9, 12)), body: bytes.utf8Slice(end + 4), time: performance.now() - at });
  }
}

/** A WebSocket that is acknowledged, answers pings, and tells the text of each message. */
export class Socket {
  static open(port, token) {
    const socket = new Socket();
    return new Promise((resolve, reject) => {
      socket.hear = () => resolve(socket);
      socket.closed = (why) => reject(new Error(`the socket was closed: ${why}`));
      socket.#connect(port, [upgrade, init(token)]);
    });
  }

  /** Sends a message; answers the next text that comes. */
  ask(bytes) {
    return new Promise((resolve, reject) => {
      this.hear = resolve;
      this.closed = (why) => reject(new Error(`the socket was closed: ${why}`));
      this.socket.write(bytes);
    });
  }

  send(bytes) { this.socket.write(bytes); }
  end() { this.socket.destroy(); }

  #connect(port, first) {
    let rest = Buffer.alloc(0), open = false, why = 'broken off';
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => {}); // 'close' follows
    this.socket.on('close', () => this.closed?.(why));
    this.socket.on('data', (chunk) => {
      rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      if (!open) {
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0) return;
        if (rest.latin1Slice(9, 12) !== '101') why = rest.latin1Slice(0, end);
        [rest, open] = [rest.subarray(end + 4), true];
      }
      for (let next; (next = unframe(rest)); rest = rest.subarray(next.length)) {
        if (next.opcode === 1) this.hear?.(next.payload.utf8Slice());
        if (next.opcode === 8) why = `${next.payload.readUInt16BE()} ${next.payload.utf8Slice(2)}`;
        if (next.opcode === 9) this.socket.write(frame(next.payload.utf8Slice(), 10));
      }
    });
    for (const bytes of first) this.socket.write(bytes);
  }
}

/** The frame that the bytes begin with, if it is whole. */
function unframe(bytes) {
  if (bytes.length < 2) return undefined;
  const [short, head] = [bytes[1] & 0x7f, { 126: 4, 127: 10 }[bytes[1] & 0x7f] ?? 2];
  if (bytes.length < head) return undefined;
  const size = head === 2 ? short : head === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < head + size) return undefined;
  return { opcode: bytes[0] & 0x0f, payload: bytes.subarray(head, head + size), length: head + size };
}
