// Where GraphiQL keeps its tabs and settings: each browser tab its own, a new one begins with what was written last.
// The version in the key is raised when the tabs of the story change, so that everyone gets the new ones.
const PREFIX = 'keyholder:1:';
const stores = [sessionStorage, localStorage];

/** A history entry holds the headers that it was run with; those have tokens in them, which don't belong on a disk. */
const withoutHeaders = (text) => JSON.stringify(JSON.parse(text), (name, value) => (name === 'headers' ? undefined : value));

const keys = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));

export const storage = {
  getItem: (key) => sessionStorage.getItem(PREFIX + key) ?? localStorage.getItem(PREFIX + key),
  setItem(key, text) {
    const isHistory = ['graphiql:queries', 'graphiql:favorites'].includes(key);
    for (const store of stores) store.setItem(PREFIX + key, isHistory ? withoutHeaders(text) : text);
  },
  removeItem(key) {
    for (const store of stores) store.removeItem(PREFIX + key);
  },
  clear() {
    for (const key of keys()) for (const store of stores) store.removeItem(key);
  },
  get length() {
    return keys().length;
  },
};
