// How the page itself asks the server, beside what is typed into GraphiQL.

/** Posts one operation; answers what the server said, or an `errors` of our own when it said nothing that can be read. */
export async function post(request, headers) {
  const sent = {
    'content-type': 'application/json',
    accept: 'application/graphql-response+json, application/json',
    ...headers,
  };
  try {
    const response = await fetch('/graphql', { method: 'POST', headers: sent, body: JSON.stringify(request), credentials: 'omit' });
    return await response.json().catch(() => refused(`The server answered ${response.status} without a word.`));
  } catch (error) {
    return error instanceof TypeError ? refused('The server did not answer. Is it running?') : refused(error.message);
  }
}

/** The same as one of the person, whose token this is. */
export const ask = (query, variables, token) => post({ query, variables }, token && { authorization: `Bearer ${token}` });

/** The codes of an answer's errors. */
export const codes = ({ errors = [] }) => errors.map(({ extensions }) => extensions?.code);

const refused = (message) => ({ errors: [{ message }] });
