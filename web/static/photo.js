/** What photos need on their way to the server, apart from the page so that the page itself is there sooner. */

export { forgetOriginal, keepOriginal, originalOf, startKeeping } from "./photo/originals.js";
export { thumbnailOf } from "./photo/pictures.js";
export { examine, submit } from "./photo/upload.js";
