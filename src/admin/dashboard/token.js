// The token for what needs one. It is kept in memory only: another page, or this one after a reload, does not have it.

let token = '';

/** @param {HTMLInputElement[]} inputs all of them show the token that was entered in one */
export function useTokenOf(...inputs) {
  for (const input of inputs) {
    input.addEventListener('input', () => {
      token = input.value.trim();
      for (const other of inputs) if (other !== input) other.value = input.value;
    });
    input.form.addEventListener('submit', (event) => event.preventDefault());
  }
}

/** The headers of a request with the token, if there is one. */
export function authorization() {
  return token === '' ? {} : { authorization: `Bearer ${token}` };
}
