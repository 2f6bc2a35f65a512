// Monaco's workers in one file, since they share most of their code; the page names the one that it wants.
const workers = {
  json: () => import('monaco-editor/esm/vs/language/json/json.worker.js'),
  graphql: () => import('monaco-graphql/esm/graphql.worker.js'),
};

(workers[self.name] ?? (() => import('monaco-editor/esm/vs/editor/editor.worker.js')))();
