/** The same request for a shell and for Python. */

const KEY = "PIXELMILL_API_KEY";

export function snippets({ model, params }) {
  const values = Object.entries(params).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : `${value}`]);
  const address = `${location.origin}/api/v1/predict/${model}`;
  const query = new URLSearchParams([["wait", "60"], ...values]);
  const lines = Object.entries(params).map(([name, value]) => `, ${JSON.stringify(name)}: ${pythonic(value)}`).join("");
  return {
    curl: `curl -H "Authorization: Bearer $${KEY}" \\\n  --data-binary @photo.jpg \\\n  "${address}?${query}"`,
    Python: `import os
import httpx

job = httpx.post(
    "${address}",
    params={"wait": 60${lines}},
    content=open("photo.jpg", "rb").read(),
    headers={"Authorization": f"Bearer {os.environ['${KEY}']}"},
    timeout=90,
).json()
print(job["state"], job["result"])`,
  };
}

function pythonic(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(typeof value === "object" ? JSON.stringify(value) : value);
}
