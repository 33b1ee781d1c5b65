// The token for what needs one. It is kept in memory only: another page, or this one after a reload, does not have it.

let token = '';
const listeners = [];

/** @param {HTMLInputElement[]} inputs all of them show the token that was entered in one */
export function useTokenOf(...inputs) {
  for (const input of inputs) {
    input.addEventListener('input', () => {
      token = input.value.trim();
      for (const other of inputs) if (other !== input) other.value = input.value;
      for (const listener of listeners) listener(token !== '');
    });
    input.form.addEventListener('submit', (event) => event.preventDefault());
  }
}

/** @param {(hasToken: boolean) => void} listener called when a token was entered or removed */
export function onToken(listener) {
  listeners.push(listener);
}

/** The headers of a request with the token, if there is one. */
export function authorization() {
  return token === '' ? {} : { authorization: `Bearer ${token}` };
}

/**
 * Takes an action, with the token.
 * @returns the reply, or `{ error }`
 */
export async function post(path, body) {
  const reply = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...authorization() },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch(() => undefined);
  return reply === undefined ? { error: 'No answer from the broker' } : reply.json();
}
