// The token for what needs one. It is kept in memory only: another page, or this one after a reload, does not have it.

let token = '';

/** @param {HTMLInputElement} input */
export function useTokenOf(input) {
  input.addEventListener('input', () => {
    token = input.value.trim();
  });
  input.form.addEventListener('submit', (event) => event.preventDefault());
}

/** The headers of a request with the token, if there is one. */
export function authorization() {
  return token === '' ? {} : { authorization: `Bearer ${token}` };
}
