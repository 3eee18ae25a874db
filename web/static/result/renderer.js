/** Calls the functions of render.js: in a worker, so that the page stays alive, or here where that cannot be. */

export class Renderer {
  isReady = false;

  /** Load what runs the calls. */
  start() {
    this.connection ??= connected().finally(() => (this.isReady = true));
  }

  /** Resolves with what the function `name` of render.js answers. */
  async call(name, argument) {
    this.start();
    return (await this.connection).call(name, argument);
  }

  /** End the worker; what it was asked for is never answered. */
  async end() {
    (await this.connection)?.end();
  }
}

async function connected() {
  if (!globalThis.OffscreenCanvas || !globalThis.Worker) return here();
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  return new Promise((resolve) => {
    worker.onerror = () => resolve(here());
    worker.onmessage = ({ data: { isReady, id, answer, error } }) => {
      if (isReady) return resolve({ call: (name, argument) => asked(worker, waiting, name, argument), end: () => worker.terminate() });
      const { done, fail } = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) done(answer);
      else fail(new Error(error));
    };
  });
}

async function here() {
  const { calls } = await import("./render.js");
  return { call: (name, argument) => calls[name](argument), end: () => {} };
}

let calls = 0;

function asked(worker, waiting, name, argument) {
  return new Promise((done, fail) => {
    const id = ++calls;
    waiting.set(id, { done, fail });
    worker.postMessage({ id, name, argument });
  });
}

/** Runs one call at a time and, of those that come meanwhile, only the last; the others resolve with null. */
export class Latest {
  constructor(work) {
    this.work = work;
  }

  run(argument) {
    this.next?.resolve(null);
    return new Promise((resolve, reject) => {
      this.next = { argument, resolve, reject };
      if (!this.isBusy) this.advance();
    });
  }

  async advance() {
    this.isBusy = true;
    while (this.next) {
      const { argument, resolve, reject } = this.next;
      this.next = null;
      await this.work(argument).then(resolve, reject);
    }
    this.isBusy = false;
  }
}
