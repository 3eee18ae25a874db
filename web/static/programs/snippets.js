/**
 * The request of a run as programs that work as they are pasted: they read photo.jpg and save the picture, or print
 * what was found. They need nothing that has to be installed.
 */

const WAIT_S = 300; // the most that the server takes
const SAVED = { matte: "photo-cutout.png", boxes: "photo-found.png" };

/** {curl, Python, JavaScript} for a request at `origin`; `key`: an API key, or null where none is needed. */
export function snippets({ model, kind, params }, origin, key) {
  const values = Object.entries(params).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : value]);
  const address = `${origin}/api/v1/predict/${model}?${new URLSearchParams([["wait", WAIT_S], ...values])}`;
  const headers = { "Content-Type": "application/octet-stream", ...(SAVED[kind] && { Accept: "image/png" }) };
  if (key) headers.Authorization = `Bearer ${key}`;
  const asked = { address, headers: Object.entries(headers), saved: SAVED[kind] };
  return { curl: curl(asked), Python: python(asked), JavaScript: javascript(asked) };
}

function curl({ address, headers, saved }) {
  const lines = headers.map(([name, value]) => `-H "${name}: ${value}"`);
  return ["curl -f --data-binary @photo.jpg", ...lines, ...(saved ? [`-o ${saved}`] : []), `"${address}"`].join(" \\\n  ");
}

function python({ address, headers, saved }) {
  const lines = headers.map(([name, value]) => `        "${name}": "${value}",\n`).join("");
  return `from pathlib import Path
from urllib.request import Request, urlopen

request = Request(
    "${address}",
    data=Path("photo.jpg").read_bytes(),
    headers={
${lines}    },
)
${saved ? `Path("${saved}").write_bytes(urlopen(request).read())` : `print(urlopen(request).read().decode())`}
`;
}

function javascript({ address, headers, saved }) {
  const lines = headers.map(([name, value]) => `    "${name}": "${value}",\n`).join("");
  return `// node photo.mjs
import { readFile, writeFile } from "node:fs/promises";

const answer = await fetch("${address}", {
  method: "POST",
  body: await readFile("photo.jpg"),
  headers: {
${lines}  },
});
if (!answer.ok) throw new Error(await answer.text());
${saved ? `await writeFile("${saved}", Buffer.from(await answer.arrayBuffer()));` : `console.log(await answer.text());`}
`;
}
