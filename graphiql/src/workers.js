// Where Monaco finds its workers: on this server, never in a blob, so that the page's policy can forbid those.
import Worker from './worker.js?worker';

globalThis.MonacoEnvironment = { getWorker: (_id, name) => new Worker({ name }) };
