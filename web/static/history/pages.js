/** The pages of GET /jobs. */

import { call, retry } from "../api.js";

const LIMIT = 48;

export class Pages {
  /** `filter()`: the query that narrows the list. */
  constructor(filter) {
    this.filter = filter;
    this.restart();
  }

  restart() {
    Object.assign(this, { next: null, isRead: false, list: {} }); // `list`: answers of an earlier one come late
  }

  /** The newest jobs, and a function that tells of another one whether it would be among them if it still were. */
  async first() {
    const { list } = this;
    const { jobs, next } = await this.page(null);
    if (list === this.list && !this.isRead) Object.assign(this, { next, isRead: true });
    const ids = new Set(jobs.map(({ id }) => id));
    const oldest = next ? (jobs.at(-1)?.created ?? "~") : "";
    return { jobs, isGone: ({ id, created }) => created >= oldest && !ids.has(id) };
  }

  /** The jobs after those that were read; a page may be empty and not the last. */
  async more() {
    const { list } = this;
    for (let jobs = []; ; ) {
      const page = await this.page(this.next);
      if (list !== this.list) return [];
      this.next = page.next;
      jobs = jobs.concat(page.jobs);
      if (jobs.length || !this.next) return jobs;
    }
  }

  page(cursor) {
    const query = this.filter();
    query.set("limit", LIMIT);
    if (cursor) query.set("cursor", cursor);
    return retry(() => call("GET", `/jobs?${query}`));
  }
}
