// Requests to the broker, and the token for those that need one. It is kept in memory only: another page, or this one after a
// reload, does not have it.

export const NO_ANSWER = 'No answer from the broker';

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
 * Sends a request.
 * @returns `{ ok, status, body }`; `undefined` if the answer is not whole or not JSON, as that of a proxy
 */
export async function request(path, options) {
  try {
    const reply = await fetch(path, options);
    return { ok: reply.ok, status: reply.status, body: await reply.json() };
  } catch {
    return undefined;
  }
}

/**
 * Takes an action, with the token.
 * @returns the reply, or `{ error }`
 */
export async function post(path, body) {
  const reply = await request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...authorization() },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return reply?.ok === true ? reply.body : { error: reply?.body?.error ?? NO_ANSWER };
}
