// How long a timer can wait.

/** The longest delay that a Node timer keeps, in ms. */
export const MAX_TIMER = 2_147_483_647;
