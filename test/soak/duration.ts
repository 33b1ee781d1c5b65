const MINUTE = 60_000;

/** How long the soak is to take, in ms: SOAK_MINUTES in the environment, or 30. */
export const SOAK_DURATION = Number(process.env.SOAK_MINUTES ?? 30) * MINUTE;
