// How GraphiQL reaches the server: queries and mutations by POST, subscriptions by WebSocket.
import { getOperationAST, parse } from 'graphql';
import { post } from './ask.js';
import { authorization, headersNow, heed, look } from './session.js';
import { listen } from './sockets.js';

/** The operation that is to run. GraphiQL learns a moment late of the text in another tab, and may name the former one's. */
function operationIn({ query, operationName }) {
  try {
    const document = parse(query);
    return getOperationAST(document, operationName) ?? getOperationAST(document);
  } catch {
    // What can't be read goes as it is: the server says what is wrong with it.
    return undefined;
  }
}

export async function fetcher({ query, variables, operationName }, { headers: written } = {}) {
  const headers = await headersNow(written);
  const operation = operationIn({ query, operationName });
  const request = { query, variables, operationName: operation?.name?.value ?? (operation ? undefined : operationName) };
  // A stream that fails may have lost its session, or its account: the bar should know.
  const isOwn = headers.authorization && headers.authorization === authorization();
  if (operation?.operation === 'subscription') return listen(request, headers.authorization, () => isOwn && look());
  const answer = await post(request, headers);
  const mayAgain = await heed(answer, headers.authorization, operation?.operation === 'mutation');
  return mayAgain ? post(request, await headersNow(headers)) : answer;
}
