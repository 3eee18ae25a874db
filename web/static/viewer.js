/** The entry of what is loaded with the first photo, and not with the page: all that shows a result and saves it. */

export { Viewer } from "./result/viewer.js";
