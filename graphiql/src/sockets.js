// Subscriptions over graphql-transport-ws: one socket for each authorization, as long as somebody listens on it.
import { createClient } from 'graphql-ws';

const open = new Map();

function take(authorization) {
  const found = open.get(authorization);
  if (found) return found;
  const url = `${location.origin.replace('http', 'ws')}/graphql`;
  // A cut is told, not hidden by a new attempt: what happened in between would be missed without a word.
  const client = createClient({ url, connectionParams: () => (authorization ? { authorization } : {}), retryAttempts: 0 });
  const socket = { client, listeners: 0 };
  open.set(authorization, socket);
  return socket;
}

/** An observable, as GraphiQL takes it; to unsubscribe is to stop. `onTrouble` is told of answers with errors. */
export function listen(request, authorization, onTrouble) {
  return {
    subscribe({ next, complete }) {
      const socket = take(authorization);
      socket.listeners += 1;
      let isOver = false;
      const leave = () => {
        if (isOver) return;
        isOver = true;
        socket.listeners -= 1;
        if (socket.listeners) return;
        open.delete(authorization);
        socket.client.dispose();
      };
      const tell = (result) => {
        next(result);
        if (result.errors) onTrouble();
      };
      const stop = socket.client.subscribe(request, {
        next: tell,
        error: (reason) => { tell(refusal(reason)); leave(); complete(); },
        complete: () => { leave(); complete(); },
      });
      return { unsubscribe: () => { stop(); leave(); } };
    },
  };
}

/** Why a stream ended: the server's errors, or what its socket was closed with. */
function refusal(reason) {
  if (Array.isArray(reason)) return { errors: reason };
  if ('code' in reason) {
    const message = reason.reason || 'The connection was cut. Run it again; with `after: <the last cursor>` nothing is missed.';
    return { errors: [{ message, extensions: { closeCode: reason.code } }] };
  }
  return { errors: [{ message: reason.message ?? 'The connection failed.' }] };
}
