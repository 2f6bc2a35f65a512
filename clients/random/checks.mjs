// What must hold for every answer, whatever was asked.

/** Words of the machinery behind the API. */
const INTERNALS = [
  /\bSELECT\b.*\bFROM\b/i, /\b(INSERT INTO|DELETE FROM|UPDATE \w+ SET)\b/i, /sqlx|sea_orm|sea_query|async_graphql|serde_json|tokio::|axum::|hyper::/i, /panicked|RUST_BACKTRACE|unwrap\(\)/i,
  /\bsrc\//, /\/root\b/, /\/tmp\b/, /\.rs:\d/, /\bconstraint\b/i, /UNIQUE/, /postgres/i, /sqlite/i, /^\s+at .+:\d+:\d+$/m, /stack backtrace/i,
];
const JSON_TYPES = /^application\/(graphql-response\+)?json; charset=utf-8$/;
const CODES = /^[A-Z][A-Z_]+$/;
const CLOSES = [1000, 1002, 1003, 1007, 1008, 1009, 4400, 4401, 4403, 4408, 4409, 4429];

export const codes = (answer) => new Set(answer.errors?.map(({ extensions }) => extensions?.code));

/** Why a valid operation may be refused as a whole; a subscription also for who asks, since it has no place for a null. */
const REFUSALS = ['QUERY_TOO_LARGE', 'OVERLOADED'];
const NO_STREAM = ['UNAUTHENTICATED', 'FORBIDDEN', 'ACCOUNT_ACCESS_ENDED', 'BAD_REQUEST', 'TWO_FACTOR_REQUIRED', 'EMAIL_NOT_VERIFIED'];
export const mayBeRefused = (answer, kind) => [...codes(answer)].some((code) => REFUSALS.includes(code) || (kind === 'subscription' && NO_STREAM.includes(code)));

/** Errors have codes and words, and no answer tells of what is inside. */
export function answerProblems(answer) {
  const wrong = [];
  if (answer === null || typeof answer !== 'object' || Array.isArray(answer)) return ['the answer is no object'];
  if (!('data' in answer) && !('errors' in answer)) wrong.push('neither data nor errors');
  const odd = Object.keys(answer).filter((key) => !['data', 'errors', 'extensions'].includes(key));
  if (odd.length) wrong.push(`unknown keys ${odd}`);
  if ('errors' in answer && !(Array.isArray(answer.errors) && answer.errors.length)) return [...wrong, 'errors is no list, or empty'];
  for (const { message, extensions, locations } of answer.errors ?? []) {
    if (typeof message !== 'string' || !message.trim()) wrong.push('an error without a message');
    if (!CODES.test(extensions?.code)) wrong.push(`an error without a code: ${message}`);
    if (extensions?.code === 'INTERNAL') wrong.push(`INTERNAL: ${message}`);
    if (locations?.some(({ line, column }) => !(line >= 1 && column >= 1))) wrong.push(`a location that is none: ${JSON.stringify(locations)}`);
  }
  return wrong;
}

/** The words of an answer name nothing of the machinery. The documentation in the schema may. */
export function leaks(text, introspects) {
  return introspects ? [] : INTERNALS.filter((pattern) => pattern.test(text)).map((pattern) => `it tells of ${pattern}`);
}

/** A response to a request that reached `/graphql`; answers the parsed body too. */
export function responseProblems({ status, headers, text }, introspects) {
  const wrong = leaks(text, introspects);
  if (status >= 500 && status !== 503) wrong.push(`status ${status}`);
  const type = headers['content-type'] ?? '';
  let answer;
  if (JSON_TYPES.test(type)) {
    try {
      answer = JSON.parse(text);
      wrong.push(...answerProblems(answer));
      if (status >= 400 && 'data' in answer) wrong.push(`data with status ${status}`);
      if (status < 400 && type.startsWith('application/graphql-response') && !('data' in answer)) wrong.push(`no data with status ${status}`);
    } catch (error) {
      wrong.push(`the body is not JSON: ${error.message}`);
    }
  } else if (text.length) wrong.push(`the type is "${type}"`);
  if (!headers['x-request-id']) wrong.push('no x-request-id');
  return { wrong, answer };
}

/** What a WebSocket said. */
export function socketProblems({ heard, code, reason }, introspects) {
  // A pong returns what the client itself sent, which may be nested too deeply to be written again.
  const own = heard.filter(({ type }) => type !== 'pong');
  const wrong = leaks(JSON.stringify(own) + reason, introspects);
  if (!CLOSES.includes(code)) wrong.push(`closed with ${code} ${reason}`);
  for (const { type, payload } of heard) {
    if (type === 'next') wrong.push(...answerProblems(payload));
    else if (type === 'error') wrong.push(...answerProblems({ errors: payload }));
    else if (!['connection_ack', 'pong', 'complete'].includes(type)) wrong.push(`it said "${type}"`);
  }
  return wrong;
}

/** What came on a bare connection: nothing, or responses with a status that may be. */
export function bytesProblems(bytes) {
  const text = bytes.toString('latin1');
  const wrong = leaks(text, false);
  if (text.includes('no end in time')) wrong.push('the server did not end the connection');
  if (text && !text.startsWith('HTTP/1.')) wrong.push('what came is not HTTP');
  for (const [, status] of text.matchAll(/^HTTP\/1\.[01] (\d{3})/gm)) {
    if (Number(status) >= 500 && Number(status) !== 503 && Number(status) !== 505) wrong.push(`status ${status}`);
  }
  return wrong;
}
