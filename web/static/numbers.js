/** Numbers as people read them. */

/** A number in the page's language; also in a worker, which knows no page: there in the browser's. */
export const number = (value, digits = 1) =>
  value.toLocaleString(globalThis.document?.documentElement.lang, { maximumFractionDigits: digits });

/** `97 %`, near 0 and 1 `99.7 %`; rounded down there, so that only certainty is 100 %. */
export const percent = (share) => `${number(share >= 0.01 && share < 0.99 ? Math.round(share * 100) : Math.floor(share * 1000) / 10)} %`;
