/** Numbers as people read them. */

/** `97 %`, near 0 and 1 `99.7 %`; rounded down there, so that only certainty is 100 %. */
export const percent = (share) => `${share >= 0.01 && share < 0.99 ? Math.round(share * 100) : Math.floor(share * 1000) / 10} %`;
