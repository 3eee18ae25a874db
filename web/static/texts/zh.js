/** The page's texts in Chinese (simplified), by their English. */

export const TEXTS = {};
