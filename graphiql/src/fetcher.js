// How GraphiQL reaches the server: queries and mutations by POST, subscriptions by WebSocket.
import { getOperationAST } from 'graphql';
import { post } from './ask.js';
import { headersNow, heed } from './session.js';
import { listen } from './sockets.js';

export async function fetcher(request, { headers: written, documentAST } = {}) {
  const headers = await headersNow(written);
  const kind = documentAST && getOperationAST(documentAST, request.operationName)?.operation;
  if (kind === 'subscription') return listen(request, headers);
  const answer = await post(request, headers);
  const mayAgain = await heed(answer, headers.authorization, kind === 'mutation');
  return mayAgain ? post(request, await headersNow(headers)) : answer;
}
